"""The hosts that other tests stand on: they reach each other, are cut off, and leave nothing."""

import subprocess
import sys
import time

import netns


def test_hosts_reach_each_other_until_they_are_cut_off() -> None:
    with netns.hosts(2) as (one, other):
        one.start(sys.executable, "-m", "http.server", "8000", "--bind", one.ip, stderr=subprocess.DEVNULL)
        ask = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=1).status)"
        url = f"http://{one.ip}:8000/"

        def asked() -> str:
            try:
                return other.run(sys.executable, "-c", ask, url).strip()
            except subprocess.CalledProcessError:
                return "nothing"

        until = time.monotonic() + 30
        while asked() == "nothing" and time.monotonic() < until:
            time.sleep(0.1)
        assert asked() == "200"
        one.cut()
        assert asked() == "nothing"
        one.join()
        assert asked() == "200"
        one.kill()
        assert asked() == "nothing"
        mark = one.name.partition("-")[0]
    left = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert mark not in left
    assert mark not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
