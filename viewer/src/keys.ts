// Keys, as video players have them.

import type { Clock } from "./clock";

export interface Actions {
  view: (name: "free" | "front" | "side" | "top") => void;
  nextShow: () => void;
  full: () => void;
  help: () => void;
}

export function listenForKeys(clock: Clock, actions: Actions): void {
  const keys: Record<string, (shift: boolean) => void> = {
    " ": () => clock.toggle(),
    k: () => clock.toggle(),
    ArrowLeft: (shift) => clock.seek(clock.time - (shift ? 5 : 1)),
    ArrowRight: (shift) => clock.seek(clock.time + (shift ? 5 : 1)),
    ArrowUp: () => clock.faster(1),
    ArrowDown: () => clock.faster(-1),
    ",": () => clock.step(-1),
    ".": () => clock.step(1),
    "<": () => clock.faster(-1),
    ">": () => clock.faster(1),
    Home: () => clock.seek(0),
    End: () => clock.seek(clock.last),
    l: () => clock.toggleLoop(),
    i: () => clock.mark(0),
    o: () => clock.mark(1),
    x: () => clock.setPart(null),
    r: () => actions.view("free"),
    v: () => actions.view("front"),
    s: () => actions.view("side"),
    t: () => actions.view("top"),
    m: () => actions.nextShow(),
    f: () => actions.full(),
    "?": () => actions.help(),
  };
  for (let i = 0; i <= 9; i++) keys[String(i)] = () => clock.seek((clock.duration * i) / 10);
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("dialog[open], select, input")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if ((key === " " || key === "Enter") && target.closest("button, summary, a")) return; // presses that one
    if (target.getAttribute("role") === "tab" && key.startsWith("Arrow")) return;
    const act = keys[key];
    if (!act) return;
    event.preventDefault();
    act(event.shiftKey);
  });
}
