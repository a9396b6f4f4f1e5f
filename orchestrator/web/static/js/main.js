// What JavaScript adds to the pages; every page can be read and used without it.
import { tellTimes } from "./times.js";
import { followChanges } from "./live.js";
import { followRun } from "./output.js";
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
const output = document.querySelector("[data-run]");
if (output) followRun(output, () => { if ("live" in document.body.dataset) followChanges(true); else location.reload(); });
else if ("live" in document.body.dataset) followChanges(false);
