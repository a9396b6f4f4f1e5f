// Keyboard shortcuts, listed under `?`; they can be switched off there (WCAG 2.1.4).
const GO = { o: "/", a: "/approvals", c: "/catalogue", l: "/audit", s: "/system" };
const OFF = "orchestrator.keys.off";
let waitingForPlace = false;

function off() {
  try { return localStorage.getItem(OFF) === "yes"; } catch { return false; }
}

function writing(target) {
  return target.matches?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
}

function step(by) {
  const rows = [...document.querySelectorAll("a.row-title, .storm > details > summary")].filter((one) => one.checkVisibility());
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1)].focus();
}

function reveal(selector) {
  const found = document.querySelector(selector);
  if (!found) return;
  for (let one = found; one; one = one.parentElement) if (one instanceof HTMLDetailsElement) one.open = true;
  found.focus();
}

const ACTS = {
  j: () => step(1),
  k: () => step(-1),
  "/": () => reveal("[data-search]"),
  y: () => reveal("[data-key=approve]"),
  n: () => reveal("[data-key=reject]"),
  h: () => reveal("[data-key=narrow]"),
  e: () => reveal("[data-key=escalate]"),
  f: () => document.querySelector("#tools [name=follow]")?.click(),
  "?": () => document.getElementById("keys").showModal(),
};

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key !== "?" && off()) return;
  if (waitingForPlace) {
    waitingForPlace = false;
    if (GO[event.key]) { event.preventDefault(); location.assign(GO[event.key]); return; }
  }
  if (event.key === "g") { waitingForPlace = true; return; }
  const act = ACTS[event.key];
  if (act) { event.preventDefault(); act(); }
}

export function listenToKeys() {
  document.addEventListener("keydown", onKey);
  const box = document.getElementById("keys-off");
  document.getElementById("keys-open")?.addEventListener("click", () => document.getElementById("keys").showModal());
  if (!box) return;
  box.checked = off();
  box.addEventListener("change", () => {
    try { localStorage.setItem(OFF, box.checked ? "yes" : "no"); } catch { /* kept for this page only */ }
  });
}
