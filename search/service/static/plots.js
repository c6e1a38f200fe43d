"use strict";
// Draws the server's figures with plotly.js in the colours of the theme, and keeps them up to date.

const ROLES = ["paper", "panel", "line", "ink", "muted", "accent", "unshared", "kernel", "anchored",
  "filter_basis", "slice_generator", "reference", "bank-0", "bank-2"];
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

function layout(part, colors, type, legend) {
  const axis = { gridcolor: colors.line, zerolinecolor: colors.line, linecolor: colors.line, automargin: true };
  return {
    paper_bgcolor: colors.paper, plot_bgcolor: colors.paper,
    font: { color: colors.ink, family: "system-ui, DejaVu Sans, sans-serif", size: 13 },
    margin: { l: 64, r: 24, t: 12, b: 52 },
    xaxis: { ...axis, title: { text: part.x.title }, type },
    yaxis: { ...axis, title: { text: part.y.title } },
    ...(part.y2 && {
      yaxis2: { ...axis, title: { text: part.y2.title }, overlaying: "y", side: "right", showgrid: false, rangemode: "tozero", tickformat: ".0%" },
    }),
    hoverlabel: { align: "left", bgcolor: colors.panel, bordercolor: colors.line, font: { color: colors.ink } },
    legend: { orientation: "h", y: -0.18, font: { color: colors.ink } },
    showlegend: legend, uirevision: `keep-${type}`, datarevision: figure.version, hovermode: "closest",
  };
}

const OPTIONS = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

async function draw() {
  const colors = theme();
  const paint = (traces) => traces.map((trace) => painted(trace, colors));
  await Plotly.react(plot, paint(figure.front.traces), layout(figure.front, colors, scale, true), OPTIONS);
  if (past) {
    await Plotly.react(past, paint(figure.history.traces), layout(figure.history, colors, "linear", false), OPTIONS);
  }
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
