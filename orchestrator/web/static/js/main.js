// What JavaScript adds to the pages; every page can be read and used without it.
import { tellTimes } from "./times.js";
import { followChanges, stopChanges } from "./live.js";
import { followRun, listenToTools, stopRun } from "./output.js";
import { listenToKeys } from "./keys.js";
import { mindForms } from "./forms.js";

function openTarget() {
  const name = decodeURIComponent(location.hash.slice(1));
  const target = name && document.getElementById(name);
  if (!target) return;
  for (let one = target; one; one = one.parentElement) if (one instanceof HTMLDetailsElement) one.open = true;
  target.scrollIntoView({ block: "start" });
  if (!target.matches("a, button, input, summary, [tabindex]")) target.tabIndex = -1;
  target.focus({ preventScroll: true });
}

document.documentElement.classList.add("scripted");
for (const one of document.querySelectorAll("[data-scripted]")) one.hidden = false;
tellTimes();
setInterval(tellTimes, 1000);
openTarget();
addEventListener("hashchange", openTarget);
listenToKeys();
mindForms();

// What the page follows: the run that is on it while it goes on, else the news that something changed.
function follow() {
  const run = document.querySelector("[data-run]:not([data-run=''])");
  if (run) {
    stopChanges();
    followRun(run, () => { if ("live" in document.body.dataset) { run.dataset.run = ""; follow(); } else location.reload(); });
  } else if ("live" in document.body.dataset) followChanges();
}

for (const list of document.querySelectorAll(".stream")) listenToTools(list);
follow();
document.addEventListener("refreshed", () => {
  const run = document.querySelector("[data-run]:not([data-run=''])");
  if (run && !run.dataset.followed) { listenToTools(run); follow(); }
});
addEventListener("pagehide", () => { stopChanges(); stopRun(); });
// Back from another page: the browser may show what stood here before.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
