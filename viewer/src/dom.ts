// Small helpers for elements and colours.

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Record<string, string> = {}, ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const find = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T;

export const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A canvas as sharp as the screen, [context, width, height] in CSS pixels.
export function sharpen(canvas: HTMLCanvasElement): [CanvasRenderingContext2D, number, number] {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d")!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return [context, width, height];
}

export function clockTime(seconds: number, digits = 2): string {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}`;
}

// From one colour to another, both "#rrggbb".
export function mix(a: string, b: string, share: number): string {
  const parse = (one: string) => [1, 3, 5].map((i) => parseInt(one.slice(i, i + 2), 16));
  const [from, to] = [parse(a), parse(b)], s = Math.max(0, Math.min(1, share));
  return "#" + from.map((value, i) => Math.round(value + (to[i] - value) * s).toString(16).padStart(2, "0")).join("");
}

export const HEAT = ["#f3f0fa", "#c9b6ea", "#9a6bd6", "#6a2bb0", "#33105f"];
export const HEAT_DARK = ["#1d2030", "#3b2a6e", "#7b3fb5", "#d2669a", "#ffd59a"];

export function heat(share: number): string {
  const scale = css("--dark") ? HEAT_DARK : HEAT;
  const at = Math.max(0, Math.min(1, share)) * (scale.length - 1), low = Math.min(scale.length - 2, Math.floor(at));
  return mix(scale[low], scale[low + 1], at - low);
}
