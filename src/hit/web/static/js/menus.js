// Menus that hang below their buttons: one at a time; Escape and a click elsewhere close them.

let open = null;

/**
 * @param {HTMLElement} button
 * @param {HTMLElement} menu
 * @param {(menu: HTMLElement) => any} fill makes the content, each time that the menu is opened
 */
export function menu(button, menu_, fill) {
  const close = (focus) => {
    menu_.hidden = true;
    button.setAttribute("aria-expanded", "false");
    open = null;
    if (focus) button.focus();
  };
  const show = async () => {
    open?.(false);
    await fill(menu_);
    menu_.hidden = false;
    button.setAttribute("aria-expanded", "true");
    open = close;
    const first = menu_.querySelector("[data-first]") ?? menu_.querySelector("button, input, select, textarea");
    if (first instanceof HTMLElement) first.focus();
  };
  button.addEventListener("click", () => (menu_.hidden ? show() : close(true)));
  menu_.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close(true);
  });
  return { close: () => open === close && close(true), show };
}

document.addEventListener("pointerdown", (event) => {
  if (open && event.target instanceof Element && !event.target.closest(".hangs")) open(false);
});

/** Have one of a group of buttons be the chosen one, by clicks and by arrow keys. @param {(value: string) => void} onchoose */
export function choice(group, onchoose) {
  const buttons = /** @type {HTMLButtonElement[]} */ ([...group.querySelectorAll("button")]);
  const show = (value) => {
    for (const one of buttons) {
      one.setAttribute("aria-checked", String(one.value === value));
      one.tabIndex = one.value === value ? 0 : -1;
    }
  };
  const choose = (button) => {
    show(button.value);
    onchoose(button.value);
  };
  for (const [i, button] of buttons.entries()) {
    button.addEventListener("click", () => choose(button));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const next = buttons[(i + step + buttons.length) % buttons.length];
      next.focus();
      choose(next);
    });
  }
  return show;
}
