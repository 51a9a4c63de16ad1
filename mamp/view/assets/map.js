"use strict";
// The map: points that can be moved about, and the movement behind the one that is pointed at.
const $ = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

async function unpack(id) {
  const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const SHAPES = [
  (c, x, y, r) => c.arc(x, y, r, 0, 7),
  (c, x, y, r) => c.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8),
  (c, x, y, r) => (c.moveTo(x, y - r * 1.2), c.lineTo(x + r * 1.1, y + r * 0.8), c.lineTo(x - r * 1.1, y + r * 0.8)),
  (c, x, y, r) => (c.moveTo(x, y - r * 1.3), c.lineTo(x + r * 1.3, y), c.lineTo(x, y + r * 1.3), c.lineTo(x - r * 1.3, y)),
];
const ICONS = [
  '<circle cx="6" cy="6" r="5"/>', '<rect x="1.5" y="1.5" width="9" height="9"/>',
  '<path d="M6 .5 11.5 10.5H.5z"/>', '<path d="M6 0 12 6 6 12 0 6z"/>',
];

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["paper", "ink", "faint", "line", "accent", "left", "right", "middle"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

(async () => {
  if (typeof DecompressionStream === "undefined") {
    $("note").textContent = "This browser is too old for the page: it cannot unpack its data.";
    return;
  }
  const data = JSON.parse(new TextDecoder().decode(await unpack("data")));
  const packed = await unpack("clips");
  const count = data.names.length;
  let place = 0;
  const clips = data.clips.map((clip) => {
    if (!clip) return null;
    const [frames, people, metres] = clip, size = people * data.joints * 2;
    const found = { frames, people, metres, size, start: place, values: null };
    place += frames * size;
    return found;
  });

  function values(clip) {
    if (clip.values) return clip.values;
    const out = packed.slice(clip.start, clip.start + clip.frames * clip.size);
    for (let i = clip.size; i < out.length; i++) out[i] = (out[i] + out[i - clip.size]) & 255;
    return (clip.values = new Int8Array(out.buffer));
  }

  // A small stick figure of one clip in a canvas.
  function player(canvas, index) {
    const clip = clips[index], started = performance.now();
    return (now) => {
      const wide = canvas.clientWidth, high = canvas.clientHeight, dense = devicePixelRatio || 1;
      if (canvas.width !== Math.round(wide * dense)) { canvas.width = Math.round(wide * dense); canvas.height = Math.round(high * dense); }
      const c = canvas.getContext("2d"), theme = colours();
      c.setTransform(dense, 0, 0, dense, 0, 0);
      c.clearRect(0, 0, wide, high);
      if (!clip) {
        c.fillStyle = theme.faint; c.font = "12px system-ui, sans-serif"; c.textAlign = "center";
        c.fillText("no recording", wide / 2, high / 2);
        return;
      }
      const v = values(clip), scale = Math.min(high / 2.35, wide / (2 * Math.max(clip.metres, 0.7))), floor = high - 14;
      c.strokeStyle = theme.line; c.lineWidth = 1;
      c.beginPath(); c.ellipse(wide / 2, floor, wide * 0.4, 7, 0, 0, 7); c.stroke();
      const draw = (frame, opacity) => {
        for (let person = clip.people - 1; person >= 0; person--) {
          const at = (joint) => {
            const i = frame * clip.size + (person * data.joints + joint) * 2;
            return v[i] === -128 ? null : [wide / 2 + (v[i] / 127) * clip.metres * scale, floor - ((v[i + 1] / 127) * clip.metres + 1) * scale];
          };
          c.globalAlpha = opacity * (person ? 0.4 : 1);
          c.lineWidth = Math.max(0.035 * scale, 1.5); c.lineCap = "round";
          for (const [joint, parent, side] of data.bones) {
            const a = at(joint), b = at(parent);
            if (!a || !b) continue;
            c.strokeStyle = theme[side];
            c.beginPath(); c.moveTo(...a); c.lineTo(...b); c.stroke();
          }
          const head = data.head === null ? null : at(data.head);
          if (head) { c.fillStyle = theme.middle; c.beginPath(); c.arc(head[0], head[1], 0.085 * scale, 0, 7); c.fill(); }
        }
        c.globalAlpha = 1;
      };
      if (calm.matches) {
        for (const [share, opacity] of [[0, 0.2], [0.5, 0.45], [1, 1]]) draw(Math.round(share * (clip.frames - 1)), opacity);
      } else draw(Math.floor(((now - started) / 1000) * data.rate) % clip.frames, 1);
    };
  }

  // Where the points are.
  const plot = $("plot"), pen = plot.getContext("2d");
  let zoom = 1, middle = [0, 0], wide = 1, high = 1, hidden = new Set(), matching = null;
  const unit = () => (Math.min(wide, high) / 2 - 22) * zoom;
  const px = (i) => wide / 2 + (data.x[i] - middle[0]) * unit();
  const py = (i) => high / 2 - (data.y[i] - middle[1]) * unit();
  const shown = (i) => !hidden.has(data.group[i]) && (!matching || matching[i]);
  let chosen = -1, playing = null, dirty = true;
  const kept = new Map();

  function drawPlot() {
    const dense = devicePixelRatio || 1, box = plot.getBoundingClientRect(), theme = colours();
    wide = box.width; high = box.height;
    plot.width = Math.round(wide * dense); plot.height = Math.round(high * dense);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, wide, high);
    const radius = Math.max(2, Math.min(6.5, 160 / Math.sqrt(count))) * Math.min(Math.sqrt(zoom), 1.8);
    // A stamp for each group: thousands of shapes in one path take seconds to fill.
    const half = Math.ceil(radius * 1.4 + 1);
    const stamps = data.groups.map(([, colour, shape]) => {
      const stamp = document.createElement("canvas");
      stamp.width = stamp.height = Math.ceil(2 * half * dense);
      const c = stamp.getContext("2d");
      c.scale(dense, dense);
      c.beginPath(); SHAPES[shape](c, half, half, radius); c.closePath();
      c.fillStyle = colour; c.fill();
      return stamp;
    });
    for (const bright of [false, true]) {
      pen.globalAlpha = bright ? 0.8 : 0.09;
      for (let i = 0; i < count; i++) {
        if (shown(i) !== bright) continue;
        const x = px(i), y = py(i);
        if (x > -half && y > -half && x < wide + half && y < high + half) pen.drawImage(stamps[data.group[i]], x - half, y - half, 2 * half, 2 * half);
      }
    }
    pen.globalAlpha = 1;
    for (const i of [...kept.keys(), chosen]) {
      if (i < 0) continue;
      pen.beginPath(); pen.arc(px(i), py(i), radius + 3.5, 0, 7);
      pen.lineWidth = i === chosen ? 2.5 : 1.5; pen.strokeStyle = i === chosen ? theme.ink : theme.accent; pen.stroke();
    }
    dirty = false;
  }

  function nearest(x, y, within) {
    let best = -1, least = within * within;
    for (let i = 0; i < count; i++) {
      if (!shown(i)) continue;
      const far = (px(i) - x) ** 2 + (py(i) - y) ** 2;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  function caption(i) {
    const words = document.createElement("div"), name = document.createElement("b"), more = document.createElement("span");
    name.textContent = data.names[i]; more.className = "more";
    more.textContent = [data.groups[data.group[i]][0], data.said[i]].filter(Boolean).join(" · ");
    words.append(name, more);
    return words;
  }

  function choose(i) {
    if (i === chosen) return;
    chosen = i; dirty = true;
    const card = $("card");
    card.classList.toggle("shown", i >= 0);
    playing = null;
    if (i < 0) return;
    const canvas = document.createElement("canvas");
    card.replaceChildren(canvas, caption(i));
    playing = player(canvas, i);
    const x = px(i), y = py(i), size = card.getBoundingClientRect();
    card.style.left = `${Math.min(Math.max(x + 16 + size.width > wide ? x - size.width - 16 : x + 16, 4), Math.max(wide - size.width - 4, 4))}px`;
    card.style.top = `${Math.min(Math.max(y - size.height / 2, 4), Math.max(high - size.height - 4, 4))}px`;
    $("said").textContent = card.textContent;
  }

  function keep(i) {
    if (i < 0 || kept.has(i)) return;
    if (kept.size >= 8) drop(kept.keys().next().value);
    const figure = document.createElement("figure"), canvas = document.createElement("canvas"), words = document.createElement("figcaption"), close = document.createElement("button");
    close.textContent = "\u00d7"; close.setAttribute("aria-label", `Remove ${data.names[i]}`);
    close.onclick = () => { drop(i); plot.focus(); };
    words.append(caption(i));
    figure.append(canvas, words, close);
    figure.onpointerenter = () => { chosen = i; dirty = true; };
    $("pinned").append(figure);
    kept.set(i, { figure, draw: player(canvas, i) });
    dirty = true;
  }
  function drop(i) { kept.get(i).figure.remove(); kept.delete(i); dirty = true; }

  function scaleBy(factor, x = wide / 2, y = high / 2) {
    const before = unit();
    zoom = Math.min(Math.max(zoom * factor, 0.5), 200);
    const gain = 1 / before - 1 / unit();
    middle = [middle[0] + (x - wide / 2) * gain, middle[1] - (y - high / 2) * gain];
    choose(-1); dirty = true;
  }
  const reset = () => { zoom = 1; middle = [0, 0]; choose(-1); dirty = true; };

  // Pointer: hover, drag, wheel, two fingers.
  const fingers = new Map();
  let moved = 0;
  plot.onpointerdown = (e) => { plot.setPointerCapture(e.pointerId); fingers.set(e.pointerId, [e.offsetX, e.offsetY]); moved = fingers.size > 1 ? 99 : 0; };
  plot.onpointermove = (e) => {
    const before = fingers.get(e.pointerId);
    if (!before) { if (e.pointerType === "mouse") choose(nearest(e.offsetX, e.offsetY, 14)); return; }
    const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    const wideBefore = fingers.size === 2 ? spread() : 0;
    moved += Math.hypot(e.offsetX - before[0], e.offsetY - before[1]);
    fingers.set(e.pointerId, [e.offsetX, e.offsetY]);
    if (fingers.size === 2) {
      const [a, b] = [...fingers.values()];
      scaleBy(spread() / Math.max(wideBefore, 1), (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
    } else if (moved > 4) {
      middle = [middle[0] - (e.offsetX - before[0]) / unit(), middle[1] + (e.offsetY - before[1]) / unit()];
      choose(-1); dirty = true;
    }
  };
  plot.onpointerup = plot.onpointercancel = (e) => {
    fingers.delete(e.pointerId);
    if (moved > 4 || e.type === "pointercancel") return;
    const touch = e.pointerType !== "mouse", i = nearest(e.offsetX, e.offsetY, touch ? 26 : 14);
    if (!touch || i === chosen) keep(i);
    choose(i);
  };
  plot.onpointerleave = (e) => { if (e.pointerType === "mouse" && !fingers.size) choose(-1); };
  plot.addEventListener("wheel", (e) => { e.preventDefault(); scaleBy(Math.exp(-e.deltaY / 400), e.offsetX, e.offsetY); }, { passive: false });

  // Keys.
  const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  plot.onkeydown = (e) => {
    const way = WAYS[e.key];
    if (way) step(way);
    else if (e.key === "Enter" || e.key === " ") keep(chosen);
    else if (e.key === "+" || e.key === "=") scaleBy(1.4);
    else if (e.key === "-") scaleBy(1 / 1.4);
    else if (e.key === "0") reset();
    else if (e.key === "Escape") choose(-1);
    else return;
    e.preventDefault();
  };
  function step([dx, dy]) {
    if (chosen < 0) return choose(nearest(wide / 2, high / 2, 1e6));
    let best = -1, least = Infinity;
    for (let i = 0; i < count; i++) {
      if (i === chosen || !shown(i)) continue;
      const x = px(i) - px(chosen), y = py(i) - py(chosen), along = x * dx + y * dy, across = Math.abs(x * dy) + Math.abs(y * dx);
      if (along <= 0 || across > along * 1.5) continue;
      if (along + 2 * across < least) { least = along + 2 * across; best = i; }
    }
    if (best >= 0) choose(best);
  }

  // Tools, legend, search.
  $("closer").onclick = () => scaleBy(1.4);
  $("farther").onclick = () => scaleBy(1 / 1.4);
  $("whole").onclick = reset;
  $("theme").onclick = () => {
    const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark"; dirty = true;
  };
  $("find").oninput = (e) => {
    const wanted = e.target.value.trim().toLowerCase();
    matching = wanted ? data.names.map((name) => name.toLowerCase().includes(wanted)) : null;
    $("said").textContent = matching ? `${matching.filter(Boolean).length} points` : "";
    choose(-1); dirty = true;
  };
  $("find").onkeydown = (e) => { if (e.key === "Enter" && matching) { plot.focus(); choose(matching.indexOf(true)); } };
  if (data.groups.length > 1) {
    data.groups.forEach(([name, colour, shape, size], group) => {
      const button = document.createElement("button"), words = document.createElement("span");
      button.innerHTML = `<svg viewBox="0 0 12 12" fill="${colour}" aria-hidden="true">${ICONS[shape]}</svg>`;
      words.textContent = `${name} ${size}`;
      button.append(words);
      button.setAttribute("aria-pressed", "true");
      button.onclick = () => {
        if (!hidden.delete(group)) hidden.add(group);
        button.setAttribute("aria-pressed", String(!hidden.has(group)));
        choose(-1); dirty = true;
      };
      $("legend").append(button);
    });
  }
  new ResizeObserver(() => { dirty = true; }).observe(plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { dirty = true; });

  let before = -Infinity;
  function frame(now) {
    if (dirty) drawPlot();
    if (now - before > 33) {
      before = now;
      if (playing) playing(now);
      for (const { draw } of kept.values()) draw(now);
    }
    requestAnimationFrame(frame);
  }
  requestAnimationFrame(frame);
  document.documentElement.dataset.ready = "yes";
})();
