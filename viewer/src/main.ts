// The page: reads what it was written with, and joins clock, stage, timeline and panels.

import { Actor, type Palette, type Show } from "./actor";
import { Clock, SPEEDS } from "./clock";
import { readPage, type Payload, type Status } from "./data";
import { clockTime, css, find, make } from "./dom";
import { listenForKeys } from "./keys";
import { MethodPanel } from "./method";
import { NeighbourPanel } from "./neighbours";
import { Recording } from "./recording";
import { Stage, type View } from "./stage";
import { Timeline } from "./timeline";

const STATUSES: Status[] = ["taken", "between", "extrapolated", "absent"];
const SHOWS: Show[] = ["over", "beside", "read", "model"];

const palette = (): Palette => ({
  people: [1, 2, 3, 4].map((i) => css(`--person-${i}`)),
  bone: css("--bone"),
  status: Object.fromEntries(STATUSES.map((one) => [one, css(`--${one}`)])) as Palette["status"],
  chosen: css("--chosen"),
  trail: css("--trail"),
});
const colours = () => ({ floor: css("--floor"), cell: css("--cell") });
const press = (element: Element, on: boolean) => element.setAttribute("aria-pressed", String(on));

async function start(): Promise<void> {
  const { page, block } = await readPage();
  const recordings = page.recordings.map((one) => new Recording(one, page, block));
  const clock = new Clock(Math.max(...recordings.map((one) => one.duration)), Math.max(...recordings.map((one) => one.fps)));
  find("title").textContent = page.title;
  find("made").textContent = `Made by ${page.made}${page.weights ? ` with the weights ${page.weights}` : ""}${page.index ? ` and the index ${page.index}` : ""}. Drawn with three.js (MIT).`;
  find("timeline").setAttribute("aria-valuemax", clock.duration.toFixed(2));

  const stage = openStage();
  const timeline = new Timeline(clock, block);
  const neighbours = new NeighbourPanel(find("neighbours"), clock, page, block);
  const method = new MethodPanel(find("method"), clock, block);
  let active = 0, chosen = -1, guest: Actor | null = null;

  const actors = stage ? recordings.map((one) => new Actor(one, 0, false, palette())) : [];
  if (stage) {
    stage.inPlace = actors.length > 3 || actors.length > 1 && actors.reduce((sum, one) => sum + one.width, 0) > 3 * actors.length;
    for (const actor of actors) stage.add(actor);
  }

  function choose(joint: number): void {
    chosen = joint;
    stage?.choose(joint);
    method.choose(joint);
    document.querySelectorAll(".joints button").forEach((one, i) => press(one, i === joint));
  }

  function activate(which: number): void {
    active = which;
    const { source } = recordings[which];
    timeline.show(recordings[which]);
    neighbours.show(source);
    method.show(source.method, page.weights);
    showJoints(recordings[which], page, chosen, (joint) => choose(joint === chosen ? -1 : joint));
    find("legend").hidden = !source.conversion;
  }

  find("legend").append(...STATUSES.map((one) => make("li", {}, dot(one), one)));
  if (recordings.length > 1) {
    const select = find<HTMLSelectElement>("which");
    select.hidden = false;
    select.append(...recordings.map((one, i) => make("option", { value: String(i) }, one.source.name)));
    select.addEventListener("change", () => activate(Number(select.value)));
  }

  // Buttons.
  const refresh = () => {
    document.querySelectorAll<HTMLElement>("[data-view]").forEach((one) => press(one, stage?.view === one.dataset.view));
    document.querySelectorAll<HTMLElement>("[data-show]").forEach((one) => press(one, stage?.show === one.dataset.show));
    document.querySelectorAll<HTMLElement>("[data-option]").forEach((one) => press(one, !!stage?.[one.dataset.option as "trail" | "inPlace"]));
  };
  const look = (view: View) => stage?.look(view, clock.time);
  const show = (name: Show) => {
    if (!stage) return;
    stage.show = name;
    stage.arrange();
    look(stage.view);
  };
  document.querySelectorAll<HTMLElement>("[data-view]").forEach((one) => one.addEventListener("click", () => look(one.dataset.view as View)));
  document.querySelectorAll<HTMLElement>("[data-show]").forEach((one) => one.addEventListener("click", () => show(one.dataset.show as Show)));
  document.querySelectorAll<HTMLElement>("[data-option]").forEach((one) =>
    one.addEventListener("click", () => {
      if (!stage) return;
      const name = one.dataset.option as "trail" | "inPlace";
      stage[name] = !stage[name];
      stage.arrange();
      if (name === "inPlace") look(stage.view);
      refresh();
    }),
  );
  const full = () => (document.fullscreenElement ? document.exitFullscreen() : find("stage").requestFullscreen?.())?.catch(() => {});
  const help = () => find<HTMLDialogElement>("help").showModal();
  find("full").addEventListener("click", full);
  find("keys").addEventListener("click", help);
  find("play").addEventListener("click", () => clock.toggle());
  find("back").addEventListener("click", () => clock.step(-1));
  find("forward").addEventListener("click", () => clock.step(1));
  find("loop").addEventListener("click", () => clock.toggleLoop());
  find("part-start").addEventListener("click", () => clock.mark(0));
  find("part-end").addEventListener("click", () => clock.mark(1));
  find("part-none").addEventListener("click", () => clock.setPart(null));
  const speed = find<HTMLSelectElement>("speed");
  speed.append(...SPEEDS.map((one) => make("option", { value: String(one) }, `${one}×`)));
  speed.addEventListener("change", () => clock.setSpeed(Number(speed.value)));
  document.addEventListener("click", (event) => {
    if (event.detail > 0) (event.target as HTMLElement).closest<HTMLElement>("button")?.blur(); // so that Space plays
  });
  const nextShow = () => stage && show(SHOWS[(SHOWS.indexOf(stage.show) + 1) % SHOWS.length]);
  listenForKeys(clock, { view: look, nextShow, full, help });
  listenForTabs(() => {
    neighbours.draw();
    method.redraw();
  });

  // Neighbours: a click takes one to the stage, in step with the window; a second click takes it away.
  neighbours.onClick = (clip, recording, from) => {
    if (stage && guest) stage.remove(guest);
    guest = null;
    const same = neighbours.onStage === clip;
    neighbours.onStage = same ? null : clip;
    if (stage && !same) {
      guest = new Actor(recording, from, true, palette());
      guest.chosen = chosen;
      stage.inPlace = true;
      stage.add(guest);
    }
    neighbours.mark();
    look(stage?.view ?? "free");
    refresh();
  };
  timeline.onWindow = (time) => {
    if (!recordings[active].source.nearest) return;
    neighbours.hold(time);
    openTab("neighbours");
  };
  method.onJoint = choose;
  if (stage) {
    stage.onPick = (_, joint) => choose(joint === chosen ? -1 : joint);
    stage.onView = refresh;
  }

  // Theme.
  const repaint = () => {
    stage?.repaint(palette(), colours());
    timeline.redraw();
    method.redraw();
    neighbours.draw();
  };
  find("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = css("--dark") ? "light" : "dark";
    repaint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

  const time = find("time");
  let told = "";
  clock.onChange(() => {
    const recording = recordings[active], { every } = recording.source;
    const text = `${clockTime(clock.time)} / ${clockTime(clock.duration)}, frame ${recording.frame(clock.time) * every}`;
    if (text !== told) time.textContent = told = text;
    if (stage) stage.dirty = true;
    document.body.classList.toggle("playing", clock.playing);
    find("play-name").textContent = clock.playing ? "Pause" : "Play";
    press(find("loop"), clock.loop);
    find("part-none").hidden = !clock.part;
    if (speed.value !== String(clock.speed)) speed.value = String(clock.speed);
  });

  activate(0);
  look("free");
  refresh();
  clock.seek(0);
  openTab(recordings[0].source.nearest ? "neighbours" : "joints");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches || location.hash === "#paused";
  clock.toggle(!still);

  // The loop. Frame times are kept for tests: what the script takes, and the time from one frame to the next.
  const times = { script: [] as number[], between: [] as number[] };
  let before = performance.now();
  const tick = (now: number) => {
    const began = performance.now(), passed = Math.max(0, now - before);
    before = now;
    if (clock.playing) times.between.push(passed);
    clock.advance(Math.min(passed, 250) / 1000);
    if (stage?.dirty) stage.render(clock.time);
    if (clock.playing) times.script.push(performance.now() - began);
    for (const one of Object.values(times)) if (one.length > 5000) one.splice(0, 2500);
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
  Object.assign(window, { mampView: { clock, recordings, stage, neighbours, times, state: () => ({ active, chosen, guest: guest !== null }) } });
  document.documentElement.dataset.ready = "yes";
}

function openStage(): Stage | null {
  try {
    return new Stage(find<HTMLCanvasElement>("view"), find("names"), palette(), colours());
  } catch (error) {
    const problem = find("problem");
    problem.hidden = false;
    problem.textContent = `This browser shows no 3D (WebGL): ${(error as Error).message} Timeline and panels work.`;
    return null;
  }
}

function dot(status: Status): HTMLElement {
  const element = make("span", { class: `dot ${status}`, "aria-hidden": "true" });
  element.style.setProperty("--colour", `var(--${status})`);
  return element;
}

function showJoints(recording: Recording, page: Payload, chosen: number, choose: (joint: number) => void): void {
  const { facts, conversion } = recording.source;
  const list = make("dl", { class: "facts" });
  for (const [name, value] of facts) list.append(make("dt", {}, name), make("dd", {}, value));
  find("joints").replaceChildren(list);
  if (!conversion) {
    find("joints").append(make("p", { class: "note" }, "This layout has no mapping to the joints of the model."));
    return;
  }
  const joints = make("ul", { class: "joints" });
  page.model.joints.forEach((joint, v) => {
    const how = conversion.how[v];
    const button = make("button", { type: "button", "aria-pressed": String(v === chosen), title: how }, dot(conversion.status[v]), make("span", {}, joint), make("span", { class: "how" }, how));
    button.addEventListener("click", () => choose(v));
    joints.append(make("li", {}, button));
  });
  const counts = STATUSES.map((one) => `${conversion.status.filter((status) => status === one).length} ${one}`).join(", ");
  find("joints").append(make("p", {}, make("strong", {}, `The model's ${page.model.joints.length} joints: `), counts), joints);
}

function openTab(name: string): void {
  document.querySelectorAll<HTMLElement>("[role=tab]").forEach((tab) => {
    const on = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    find(tab.getAttribute("aria-controls")!).hidden = !on;
  });
}

function listenForTabs(opened: () => void): void {
  const tabs = [...document.querySelectorAll<HTMLElement>("[role=tab]")];
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => {
      openTab(tab.getAttribute("aria-controls")!);
      opened();
    });
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = tabs[(i + by + tabs.length) % tabs.length];
      next.focus();
      next.click();
    });
  });
}

start().catch((error: unknown) => {
  const problem = find("problem");
  problem.hidden = false;
  problem.textContent = `The page cannot be shown: ${error instanceof Error ? error.message : error}`;
  throw error;
});
