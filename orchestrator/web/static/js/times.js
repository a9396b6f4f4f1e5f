// Times: told relative to now, with the exact time in UTC and here in the title; countdowns and progress.
const MINUTE = 60, HOUR = 3600, DAY = 86400, SOON_S = 120;

export function span(seconds) {
  const size = Math.abs(seconds);
  if (size < 90) return `${Math.round(size)} s`;
  if (size < 1.5 * HOUR) return `${Math.round(size / MINUTE)} min`;
  if (size < 2 * DAY) return `${Math.round(size / HOUR)} h`;
  return `${Math.round(size / DAY)} d`;
}

function countdown(seconds) {
  if (seconds <= 0) return "over";
  if (seconds >= HOUR) return span(seconds);
  const rest = Math.floor(seconds);
  return `${Math.floor(rest / MINUTE)}:${String(rest % MINUTE).padStart(2, "0")}`;
}

function relative(seconds) {
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(seconds)}`;
}

function localise(element, moment) {
  element.title = `${element.title} · ${moment.toLocaleString()} here`.replace(/^ · /, "");
  element.dataset.localised = "yes";
}

export function tellTimes() {
  const now = Date.now();
  for (const element of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.getAttribute("datetime"));
    const seconds = (now - moment) / 1000;
    if (Number.isNaN(seconds)) continue;
    if (!element.dataset.localised) localise(element, moment);
    if ("exact" in element.dataset) continue;
    const left = "countdown" in element.dataset;
    const said = left ? countdown(-seconds) : relative(seconds);
    if (element.textContent !== said) element.textContent = said;
    if (left) element.closest(".tile")?.classList.toggle("soon", -seconds < SOON_S);
  }
  for (const bar of document.querySelectorAll("progress[data-from]")) tellProgress(bar, now);
}

// From one moment to another, or from one moment for the usual number of seconds.
function tellProgress(bar, now) {
  const gone = (now - new Date(bar.dataset.from)) / 1000;
  if ("until" in bar.dataset) {
    bar.max = Math.max((new Date(bar.dataset.until) - new Date(bar.dataset.from)) / 1000, 1);
    bar.value = Math.max(bar.max - gone, 0);
    return;
  }
  bar.value = Math.min(gone, bar.max);
  bar.classList.toggle("late", gone > bar.max);
  const said = document.getElementById(bar.dataset.said);
  if (said) said.textContent = gone > bar.max ? `${span(gone)}, longer than the usual ${span(bar.max)}` : `${span(gone)} of usually ${span(bar.max)}`;
}
