#!/usr/bin/env bash
# Runs the steps of the Containerfile without an engine: its paths lie in a folder of its own, its ENV and COPY lines hold, its
# RUN lines are run one by one; then what they made serves a small library, and the HEALTHCHECK is asked.
#   deploy/check.sh [FOLDER]    FOLDER is kept, and gone on with; without one a temporary one is made and removed
set -euo pipefail
cd "$(dirname "$0")/.."

if (($#)); then
    mkdir -p "$1"
    root=$(cd "$1" && pwd)
else
    root=$(mktemp -d)
fi
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; (($#)) || rm -rf "$root"' EXIT

inside() { sed -E "s#(^|[ =:'\"])/(src|opt/hit|var/lib/hit)#\1$root/\2#g" <<<"$1"; }  # paths of the image in the folder

workdir=$root
while IFS= read -r line; do
    word=${line%% *} rest=${line#* }
    case $word in
        ENV) for pair in $rest; do [[ $pair == PATH=* ]] || export "${pair?}"; done ;;
        WORKDIR)
            workdir=$root$rest
            mkdir -p "$workdir"
            ;;
        COPY)
            if [[ $rest == --from=* ]]; then
                echo "-- as it is: $line"
            else
                read -ra names <<<"$rest"
                target=$workdir/${names[-1]#./}
                for name in "${names[@]:0:${#names[@]}-1}"; do
                    if [[ -d $name ]]; then mkdir -p "$target" && cp -r "$name/." "$target"; else cp "$name" "$target"; fi
                done
            fi
            ;;
        RUN)
            if [[ $rest == useradd* ]]; then
                echo "-- left out: $line"
            else
                echo "-- $line"
                (cd "$workdir" && bash -euc "$(inside "$rest")")
            fi
            ;;
        HEALTHCHECK) health=${line#* CMD } ;;
        ENTRYPOINT) entry=$rest ;;
        CMD) command=$rest ;;
        FROM | USER | VOLUME | EXPOSE | STOPSIGNAL | "#"* | "") ;;
        *) echo "check.sh: what is $word?" >&2 && exit 1 ;;
    esac
done <deploy/Containerfile

export PATH=$root/opt/hit/bin:$PATH
library=$root/var/lib/hit/library
cd "$root"
if [[ ! -e $library ]]; then
    python3 -c "
import numpy, pathlib
from hit import video
video.write(pathlib.Path('$root/grey.mp4'), (numpy.full((48, 64, 3), i, numpy.uint8) for i in range(24)), 8.0)"
    hit index "$library" "$root/grey.mp4"
fi
port=$(python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
mapfile -t words < <(python3 -c "import json, sys; print(*json.loads(sys.argv[1]) + json.loads(sys.argv[2]), sep='\n')" "$entry" "$(inside "$command")")
"${words[@]}" --host 127.0.0.1 --port "$port" auth=on & # as the image does, but reached from here only
server=$!
mapfile -t asked < <(python3 -c "import json, sys; print(*json.loads(sys.argv[1]), sep='\n')" "${health//:8000/:$port}")
for _ in $(seq 120); do
    kill -0 "$server"
    if "${asked[@]}" 2>/dev/null; then
        kill -TERM "$server"
        wait "$server"
        server=
        echo "-- the image would be healthy"
        exit 0
    fi
    sleep 1
done
echo "check.sh: the server does not become healthy" >&2
exit 1
