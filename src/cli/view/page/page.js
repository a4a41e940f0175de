// The page of `zbridge view`: asks this machine's server once a second for the picture and what is beside it, and changes
// what is other than before. Whatever comes from the bridge is put in as text, never as markup; the picture is parsed as
// SVG, in which every name is escaped already.
"use strict";

const LOOK = 1000, SHOWN_FRAMES = 200, REMEMBERED = 180;
const get = (id) => document.getElementById(id);
const bench = get("bench"), panel = get("panel"), main = document.querySelector("main");
const history = new Map(); // port → [[frames in, frames out] a second …]
let last = null, chosen = null, watching = null, paused = false;

// Makes `old` as `fresh` is, in place, so that focus and animations stay.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const theirs = [...fresh.childNodes];
  while (old.childNodes.length > theirs.length) old.lastChild.remove();
  theirs.forEach((child, index) => {
    const ours = old.childNodes[index];
    if (ours) morph(ours, child); else old.append(child);
  });
}

// An element with text in it.
function element(name, text, look) {
  const made = document.createElement(name);
  made.textContent = text;
  if (look) made.className = look;
  return made;
}

function fill(list, pairs) {
  const fresh = list.cloneNode(false);
  for (const [term, text] of pairs) fresh.append(element("dt", term), element("dd", text));
  morph(list, fresh);
}

function* ports(picture) {
  for (const place of picture.switches) {
    for (const port of place.ports) {
      yield [place, port];
      for (const client of port.clients) yield [place, client];
    }
  }
}

// Three digits and a letter, as the commands have it (src/cli/units.rs).
function amount(number) {
  const [unit, word] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([unit]) => number >= unit) ?? [1, ""];
  const scaled = number / unit;
  return scaled.toFixed(word === "" || scaled >= 100 ? 0 : scaled < 10 ? 2 : 1) + word;
}
const exact = new Intl.NumberFormat("en");

function drawBench(told) {
  const fresh = document.importNode(new DOMParser().parseFromString(told.svg, "image/svg+xml").documentElement, true);
  for (const port of fresh.querySelectorAll("[data-port]")) {
    if (port.dataset.port === chosen) {
      port.classList.add("chosen");
      port.setAttribute("aria-pressed", "true");
    }
  }
  const old = bench.querySelector("svg");
  if (old) morph(old, fresh); else bench.replaceChildren(fresh);
  bench.classList.toggle("old", Boolean(told.trouble));
}

function drawHead(told) {
  get("bridge").textContent = told.bridge;
  const since = told.since ? `, since ${new Date(told.since * 1000).toLocaleTimeString()}` : "";
  get("about").textContent = `zbridge ${told.version}, pid ${told.pid}${since}`;
  say(told.trouble ? `${told.trouble}. The picture is what was seen last; it goes on when the bridge runs again.` : "");
}

function say(trouble) {
  const line = get("trouble");
  line.hidden = trouble === "";
  if (line.textContent !== trouble) line.textContent = trouble;
}

function drawPrograms(told) {
  const programs = [...told.picture.programs];
  const known = new Set(programs.map((program) => program.name));
  for (const [, port] of ports(told.picture)) {
    if (port.program && !known.has(port.program.name)) {
      known.add(port.program.name);
      programs.push(port.program);
    }
  }
  get("programs").hidden = programs.length === 0;
  const fresh = document.createElement("div");
  for (const program of programs) {
    const card = document.createElement("article");
    const sign = { runs: "● ", waits: "○ ", failed: "✕ " }[program.mood] ?? "";
    card.append(element("h3", program.name), element("p", sign + program.state, program.mood));
    card.append(element("pre", program.lines.join("\n")));
    fresh.append(card);
  }
  morph(get("programs").querySelector("div"), fresh);
}

function drawEvents(told) {
  if (told.events.length === 0) return;
  const fresh = document.createElement("ol");
  for (const event of [...told.events].reverse()) fresh.append(element("li", event));
  morph(get("events").querySelector("ol"), fresh);
}

function remember(told) {
  for (const [, port] of ports(told.picture)) {
    const passed = history.get(port.name) ?? [];
    passed.push([port.traffic.rx_rate, port.traffic.tx_rate]);
    if (passed.length > REMEMBERED) passed.shift();
    history.set(port.name, passed);
  }
}

function drawSpark(name) {
  const passed = history.get(name) ?? [], most = Math.max(1, ...passed.flat());
  const line = (way, look) => {
    const points = passed.map((rates, index) => `${240 - (passed.length - 1 - index) * (240 / (REMEMBERED - 1))},${42 - 40 * rates[way] / most}`);
    const made = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    made.setAttribute("points", points.join(" "));
    made.setAttribute("class", look);
    return made;
  };
  get("spark").replaceChildren(line(0, "in"), line(1, "out"));
  get("spark-says").textContent = `frames a second, the last three minutes: in (solid), out (dashed); at most ${amount(most)}`;
}

function drawPanel(told) {
  if (chosen === null) return;
  const found = [...ports(told.picture)].find(([, port]) => port.name === chosen);
  if (!found) {
    fill(get("facts"), [["state", "gone"]]);
    get("drops").hidden = true;
    return;
  }
  const [place, port] = found, traffic = port.traffic;
  const rate = (frames, bits) => `${amount(frames)} f/s, ${amount(bits)} bit/s`;
  const facts = [
    ["switch", place.name], ["kind", port.kind], ["state", port.state], ["peer", port.about || "–"],
    ["in", `${exact.format(traffic.rx_frames)} frames; now ${rate(traffic.rx_rate, traffic.rx_bits)}`],
    ["out", `${exact.format(traffic.tx_frames)} frames; now ${rate(traffic.tx_rate, traffic.tx_bits)}`],
    ["queued", exact.format(port.queued)],
  ];
  for (const at of port.stations) {
    facts.push([at.twice ? "⚠ twice" : "station", [at.addr, at.name, at.mac].filter(Boolean).join("  ")]);
  }
  for (const note of port.notes) facts.push(["", note]);
  fill(get("facts"), facts);
  get("drops").hidden = port.dropped === 0;
  const reasons = port.reasons.split(", ").filter(Boolean);
  fill(get("drops").querySelector("dl"), reasons.map((reason) => [reason, told.meanings[reason.replace(/ \d+$/, "")] ?? ""]));
  drawSpark(chosen);
}

function draw(told) {
  last = told;
  drawHead(told);
  drawBench(told);
  drawPrograms(told);
  drawEvents(told);
  drawPanel(told);
}

async function look() {
  try {
    const width = Math.max(320, Math.floor(bench.clientWidth));
    const answer = await fetch(`picture?width=${Math.min(width, 1180)}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const told = await answer.json();
    remember(told);
    draw(told);
  } catch (error) {
    bench.classList.add("old");
    say(`zbridge view does not answer any more (${error.message}): start it again, and open the address that it prints.`);
  }
}

async function watch(name) {
  const stop = new AbortController();
  watching = stop;
  const list = get("frames");
  list.replaceChildren(element("li", "waiting for a frame …", "quiet"));
  try {
    const answer = await fetch(`frames?port=${encodeURIComponent(name)}`, { signal: stop.signal, cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", first = true; ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      if (first && lines.length > 0) {
        list.replaceChildren();
        first = false;
      }
      if (!paused) show(list, lines);
    }
  } catch (error) {
    if (!stop.signal.aborted) show(list, [error.message]);
  }
}

function show(list, lines) {
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(...lines.map((line) => element("li", line, /\[[^\]]*drop/.test(line) ? "drop" : "")));
  while (list.children.length > SHOWN_FRAMES) list.firstChild.remove();
  if (follows) list.scrollTop = list.scrollHeight;
}

function choose(name) {
  if (watching) watching.abort();
  watching = null;
  chosen = name;
  panel.hidden = name === null;
  main.classList.toggle("with-panel", name !== null);
  if (name !== null) {
    get("chosen").textContent = `port ${name}`;
    watch(name);
    get("chosen").focus();
  }
  if (last) draw(last);
  look();
}

function close() {
  const name = chosen;
  choose(null);
  const port = [...bench.querySelectorAll("[data-port]")].find((port) => port.dataset.port === name);
  if (port) port.focus();
}

bench.addEventListener("click", (event) => {
  const port = event.target.closest("[data-port]");
  if (port) choose(port.dataset.port);
});
bench.addEventListener("keydown", (event) => {
  const port = event.target.closest("[data-port]");
  if (port && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    choose(port.dataset.port);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen !== null) close();
});
get("close").addEventListener("click", close);
get("pause").addEventListener("click", () => {
  paused = !paused;
  get("pause").setAttribute("aria-pressed", String(paused));
  get("pause").textContent = paused ? "Go on" : "Pause";
});

(async () => {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((resume) => setTimeout(resume, LOOK));
  }
})();
