"use strict";
// Keeps parts of a page up to date, sorts and filters tables, copies and asks before deleting.

const every = (selector, work) => document.querySelectorAll(selector).forEach(work);
const say = (text) => { document.getElementById("said").textContent = text; };

/** Replace what is in an element; who was inside with the keyboard stays where they were. */
async function refill(element, address) {
  const answer = await fetch(address);
  if (!answer.ok) return false;
  const text = await answer.text();
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  if (focused === "more") return true; // somebody types into it
  if (element.dataset.last !== text) {
    element.dataset.last = text;
    element.innerHTML = text;
    if (focused) document.getElementById(focused)?.focus();
  }
  return true;
}

/** Call work after a change, never twice at once and at most once in half a second. */
function gently(work) {
  let busy = false, again = false;
  return async function run() {
    if (busy) { again = true; return; }
    busy = true;
    try { await work(); } catch (error) { /* the server is away: the next event tries again */ }
    await new Promise((done) => setTimeout(done, 500));
    busy = false;
    if (again) { again = false; run(); }
  };
}

/** Say so when the server does not answer any more, and when it does again. */
function guard() {
  const note = document.getElementById("away");
  let asking = false;
  return async function ask() {
    if (asking) return;
    asking = true;
    let sentence = "";
    try {
      const answer = await fetch(note.dataset.health, { signal: AbortSignal.timeout(4000), cache: "no-store" });
      if (!answer.ok && answer.status !== 429) sentence = (await answer.json()).error.message;
    } catch (error) {
      sentence = "The service does not answer: what you see may be old. It is asked again every few seconds.";
    }
    if (note.hidden !== !sentence && !sentence) document.dispatchEvent(new Event("changed"));
    note.textContent = sentence;
    note.hidden = !sentence;
    asking = false;
  };
}
const ask = guard();
setInterval(() => { if (!document.hidden) ask(); }, 3000);

/** Watch the server's events and call everybody who waits for changes. */
function watch() {
  const source = document.querySelector("[data-events]");
  if (!source) return;
  const changed = () => document.dispatchEvent(new Event("changed"));
  const events = new EventSource(source.dataset.events);
  events.addEventListener("change", changed);
  events.addEventListener("error", ask);
  window.addEventListener("pagehide", () => events.close());
}

every("[data-live]", (element) => {
  document.addEventListener("changed", gently(async () => {
    await refill(element, element.dataset.live);
    if ("reloadWhenStored" in element.dataset && element.querySelector(".facts")) location.reload();
  }));
});

const filters = document.getElementById("filters");
if (filters) {
  const table = document.getElementById("table");
  let sort = filters.dataset.sort, page = "1";
  const load = () => {
    const asked = new URLSearchParams([...new FormData(filters)].filter(([, value]) => value));
    asked.set("sort", sort);
    asked.set("page", page);
    return refill(table, `${filters.dataset.table}?${asked}`);
  };
  filters.addEventListener("change", async () => {
    page = "1";
    await load();
    say(document.getElementById("table-count").textContent);
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  table.addEventListener("click", (event) => {
    const link = event.target.closest("[data-sort], [data-page]");
    if (!link) return;
    event.preventDefault();
    if (link.dataset.sort) { sort = link.dataset.sort; page = "1"; } else { page = link.dataset.page; }
    load();
  });
  document.addEventListener("changed", gently(load));
}

every("form[data-defaults]", (form) => form.addEventListener("change", async () => {
  const address = form.getAttribute("data-defaults"); // form.dataset is the field of that name
  const answer = await fetch(`${address}?${new URLSearchParams(new FormData(form))}`);
  if (!answer.ok) return;
  const { defaults, idle } = await answer.json();
  every("[data-default]", (place) => {
    const text = defaults[place.dataset.default];
    if (place.tagName === "INPUT") place.placeholder = text || "none";
    else if (place.tagName === "OPTION") place.textContent = text ? `${text} (default)` : "no";
    else place.textContent = text;
  });
  every("[data-field]", (field) => {
    field.hidden = idle.includes(field.dataset.field);
    field.querySelectorAll("input, select").forEach((one) => { one.disabled = field.hidden; });
  });
  every("details.group", (group) => { group.hidden = !group.querySelector("[data-field]:not([hidden])"); });
}));

/** Show what the search would do below the form, where it stays as it is filled in. */
every("[data-preview]", (button) => button.addEventListener("click", async (event) => {
  event.preventDefault();
  const place = document.getElementById("preview");
  if (!button.form.reportValidity()) return;
  button.disabled = true;
  place.innerHTML = "<p>The network is built and trained for some steps: this takes some seconds. <progress></progress></p>";
  place.scrollIntoView({ block: "nearest" });
  try {
    const answer = await fetch(button.dataset.preview, { method: "POST", body: new URLSearchParams(new FormData(button.form)) });
    place.innerHTML = await answer.text();
    place.scrollIntoView({ block: "nearest" });
  } catch (error) {
    place.textContent = "The service does not answer.";
  }
  button.disabled = false;
}));

/** A field that something points to is shown, also where it is folded away. */
function unfold() {
  const pointed = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = pointed && pointed.closest("details.group");
  if (folded) folded.open = true;
  if (pointed && pointed.closest("[data-field]")) pointed.focus();
}
window.addEventListener("hashchange", unfold);

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

every("[data-copy]", (button) => button.addEventListener("click", async () => {
  const text = document.querySelector(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    say("copied");
    button.textContent = "Copied";
  } catch (error) {
    getSelection().selectAllChildren(document.querySelector(button.dataset.copy));
    say("selected: press Ctrl-C to copy");
    button.textContent = "Selected: press Ctrl-C";
  }
}));

/** Whoever points at a site or a bank of a plan sees who shares with it. */
document.addEventListener("pointerover", (event) => {
  const pointed = event.target.closest?.("[data-bank]");
  const plan = pointed?.closest(".sides > *") ?? document; // one of two that are compared
  every(".dimmed", (one) => one.classList.remove("dimmed"));
  if (pointed) plan.querySelectorAll("[data-bank]").forEach((one) => one.classList.toggle("dimmed", one.dataset.bank !== pointed.dataset.bank));
});

document.getElementById("problem")?.focus();
unfold();
watch();
