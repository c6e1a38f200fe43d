"use strict";
// Draws the server's figures with plotly.js in the colours of the theme, and keeps them up to date.

const ROLES = ["paper", "panel", "line", "ink", "muted", "accent", "unshared", "kernel", "anchored",
  "filter_basis", "slice_generator", "low_rank", "reference", "bank-0", "bank-2"];
const plot = document.getElementById("front");
const past = document.getElementById("history");
const dark = matchMedia("(prefers-color-scheme: dark)");
let figure = null;
let scale = "linear";

function theme() {
  const style = getComputedStyle(document.documentElement);
  const colors = Object.fromEntries(ROLES.map((role) => [role, style.getPropertyValue(`--${role}`).trim()]));
  colors["several methods"] = style.getPropertyValue("--several").trim();
  return colors;
}

/** A trace with colours in the place of roles. */
function painted(value, colors) {
  if (Array.isArray(value) || value === null || typeof value !== "object") return value;
  const paint = ([key, inner]) => [key, key === "color" ? colors[inner] ?? inner : painted(inner, colors)];
  return Object.fromEntries(Object.entries(value).map(paint));
}

/** A trace whose scale of colours lies above the plot where there is no room beside it. */
function roomy(trace) {
  const bar = trace.marker?.colorbar;
  if (!bar || innerWidth >= 600) return trace;
  const above = { ...bar, orientation: "h", y: 1, yanchor: "bottom", title: { ...bar.title, side: "top" } };
  return { ...trace, marker: { ...trace.marker, colorbar: above } };
}

function layout(part, colors, type, legend) {
  const axis = { gridcolor: colors.line, zerolinecolor: colors.line, linecolor: colors.line, automargin: true };
  return {
    paper_bgcolor: colors.paper, plot_bgcolor: colors.paper,
    font: { color: colors.ink, family: "system-ui, DejaVu Sans, sans-serif", size: 13 },
    margin: { l: 64, r: 24, t: 12, b: 52 },
    xaxis: { ...axis, title: { text: part.x.title }, ...(type && { type }), ...(part.x.zero && { rangemode: "tozero" }) },
    yaxis: {
      ...axis, title: { text: part.y.title }, ...(part.y.zero && { rangemode: "tozero" }),
      ...(part.y.percent && { tickformat: ".0%", range: [-0.05, 1.05] }), ...(part.y.whole && { dtick: part.y.whole, autorange: "reversed" }),
    },
    barmode: "overlay",
    ...(part.y.beside_each_other && { scattermode: "group", scattergap: 0.4 }),
    ...(part.y2 && {
      yaxis2: { ...axis, title: { text: part.y2.title }, overlaying: "y", side: "right", showgrid: false, rangemode: "tozero", tickformat: ".0%" },
    }),
    hoverlabel: { align: "left", bgcolor: colors.panel, bordercolor: colors.line, font: { color: colors.ink } },
    legend: { orientation: "h", y: (part.low ? -0.45 : -0.18) * (innerWidth < 600 ? 1.7 : 1), font: { color: colors.ink, size: innerWidth < 600 ? 11 : 13 } },
    showlegend: legend, uirevision: `keep-${type}`, datarevision: figure.version, hovermode: "closest",
  };
}

const LINE = 18; // pixels: the height of a name

/** Boxes in which the name of a point at (x, y) may stand: beside it, then farther up and down. */
function boxes(x, y, width, most) {
  return [0, 1, 2, 3, 4, 5].flatMap((step) => [[1, 1], [-1, 1], [1, -1], [-1, -1]].map(([right, down]) => ({
    step, down,
    left: Math.max(0, Math.min(right > 0 ? x + 12 : x - 12 - width, most - width)),
    top: down > 0 ? y + 6 + step * LINE : y - 6 - LINE - step * LINE,
    width,
  })));
}

const covers = (box, [x, y]) => x > box.left - 8 && x < box.left + box.width + 8 && y > box.top - 8 && y < box.top + LINE + 8;
const meet = (one, two) => Math.abs(one.top - two.top) < LINE && one.left < two.left + two.width + 8 && two.left < one.left + one.width + 8;

/** The names of the references as annotations, each where it covers least. They hang on places of the
 * paper, not of the axes, which would make room for them and so move the points. */
function names(colors) {
  const { xaxis, yaxis } = plot._fullLayout;
  const isSeen = ([x, y]) => x >= 0 && x <= xaxis._length && y >= 0 && y <= yaxis._length;
  const place = (trace) => trace.x.map((x, index) => [xaxis.d2p(x), yaxis.d2p(trace.y[index])]);
  const points = figure.front.traces.filter((trace) => trace.mode === "markers").flatMap(place);
  const references = figure.front.traces.find((trace) => trace.name === "references");
  const ruler = document.createElement("canvas").getContext("2d");
  ruler.font = "13px system-ui, DejaVu Sans, sans-serif";
  const placed = [];
  const narrow = xaxis._length < 500; // there the paper is left out: hovering tells it
  return (references?.text ?? []).map((name, index) => {
    const text = narrow ? name.replace(/ \(.*\)$/, "") : name;
    const [x, y] = place(references)[index];
    if (!isSeen([x, y])) return null;
    const cost = (box) => box.step
      + 3 * points.filter((point) => covers(box, point)).length
      + 50 * placed.filter((other) => meet(box, other)).length
      + 100 * (box.top < 0 || box.top + LINE > yaxis._length);
    const all = boxes(x, y, ruler.measureText(text).width, xaxis._length).map((box) => ({ ...box, cost: cost(box) }));
    const best = all.reduce((one, two) => (two.cost < one.cost ? two : one));
    placed.push(best);
    const [far, side] = best.left > x ? [0, "left"] : best.left + best.width < x ? [1, "right"] : [0.5, "center"];
    return {
      text, xref: "paper", yref: "paper", x: x / xaxis._length, y: 1 - y / yaxis._length,
      ax: best.left + far * best.width - x, ay: best.down * (6 + best.step * LINE), standoff: 9, arrowhead: 0, arrowwidth: 1,
      xanchor: side, yanchor: best.down > 0 ? "top" : "bottom", borderpad: 0,
      arrowcolor: best.step ? colors.muted : "rgba(0,0,0,0)", font: { color: colors.reference },
    };
  }).filter(Boolean);
}

let naming = false;

/** Put the names where there is room now; after every drawing, zoom and change of size. */
async function name() {
  if (naming || !figure) return;
  naming = true;
  const annotations = names(theme());
  if (JSON.stringify(annotations) !== plot.dataset.names) {
    plot.dataset.names = JSON.stringify(annotations);
    await Plotly.relayout(plot, { annotations });
  }
  naming = false;
}

const OPTIONS = {
  responsive: true, displaylogo: false, // and nothing is sent to plotly's servers
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"], plotlyServerURL: "",
};

const NOTHING = {
  xaxis: { visible: false }, yaxis: { visible: false },
  annotations: [{ text: "No trial has ended yet: its point will appear here.", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false }],
};

const costs = document.getElementById("effects");
let effects = null;

/** What sharing a group costs; asked for once somebody looks, as it takes the server some time. */
async function drawEffects(colors) {
  if (!costs || !effects) return;
  if (!effects.rows.length) {
    costs.hidden = true;
    document.getElementById("effects-text").textContent = "Too few trials have ended to say.";
    return;
  }
  const traces = effects.effects.traces.map((trace) => painted(trace, colors));
  await Plotly.react(costs, traces, layout({ ...effects.effects, low: true }, colors, "linear", true), OPTIONS);
  costs.dataset.rows = effects.rows.length;
}

async function loadEffects() {
  const answer = costs && await fetch(costs.dataset.effects);
  if (!answer || !answer.ok) return;
  effects = await answer.json();
  if (figure) await drawEffects(theme());
}

async function draw() {
  const colors = theme();
  const paint = (traces) => traces.map((trace) => roomy(painted(trace, colors)));
  const shown = { ...layout(figure.front, colors, scale, true), annotations: plot.layout?.annotations ?? [] };
  if (!figure.front.traces.length) Object.assign(shown, NOTHING);
  await Plotly.react(plot, paint(figure.front.traces), shown, OPTIONS);
  await name();
  if (past) {
    await Plotly.react(past, paint(figure.history.traces), layout(figure.history, colors, "linear", false), OPTIONS);
  }
  for (const key of ["by_trial", "groups", "timeline"]) {
    const place = document.getElementById(key);
    if (!place || !figure[key]) continue;
    await Plotly.react(place, paint(figure[key].traces), layout({ ...figure[key], low: true }, colors, null, key === "timeline"), OPTIONS);
  }
  await drawEffects(colors);
  plot.dataset.version = figure.version ?? 0;
  plot.dataset.points = figure.front.traces.reduce((sum, trace) => sum + (trace.customdata?.length ?? 0), 0);
}

async function load() {
  const answer = await fetch(plot.dataset.figure);
  if (!answer.ok) return;
  figure = await answer.json();
  const first = !plot.dataset.version;
  await draw();
  if (first) {
    plot.on("plotly_afterplot", name);
    plot.on("plotly_click", (event) => {
      const number = event.points[0].customdata;
      if (number !== undefined && plot.dataset.study) location.assign(`${plot.dataset.study}/trials/${number}`);
    });
  }
}

every("[data-scale]", (button) => button.addEventListener("click", () => {
  scale = button.dataset.scale;
  every("[data-scale]", (other) => other.setAttribute("aria-pressed", String(other === button)));
  if (figure) draw();
}));
dark.addEventListener("change", () => { if (figure) draw(); });
if (plot.dataset.study) document.addEventListener("changed", gently(load));
load();
if (costs) {
  const watching = new IntersectionObserver((seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    watching.disconnect();
    loadEffects();
  }, { rootMargin: "100% 0px" });
  watching.observe(costs);
}
