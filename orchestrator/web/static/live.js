// Live times, live parts, live output. The pages work without it.
"use strict";

const HOUR = 3600, DAY = 86400, POLL_MS = 5000;

function span(seconds) {
  const size = Math.abs(seconds);
  if (size < 90) return `${Math.round(size)} s`;
  if (size < 1.5 * HOUR) return `${Math.round(size / 60)} min`;
  if (size < 2 * DAY) return `${Math.round(size / HOUR)} h`;
  return `${Math.round(size / DAY)} d`;
}

function countdown(seconds) {
  if (seconds <= 0) return "over";
  if (seconds >= HOUR) return `in ${span(seconds)}`;
  const rest = Math.floor(seconds);
  return `in ${Math.floor(rest / 60)}:${String(rest % 60).padStart(2, "0")}`;
}

function tellTimes() {
  const now = Date.now();
  for (const element of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.getAttribute("datetime"));
    const seconds = (now - moment) / 1000;
    if (Number.isNaN(seconds)) continue;
    if (!element.dataset.localised) {
      element.title += ` · ${moment.toLocaleString()} here`;
      element.dataset.localised = "yes";
    }
    const said = "countdown" in element.dataset ? countdown(-seconds) : Math.abs(seconds) < 1 ? "now" : seconds > 0 ? `${span(seconds)} ago` : `in ${span(seconds)}`;
    if (element.textContent !== said) element.textContent = said;
  }
}

function say(words) {
  document.getElementById("said").textContent = words;
}

function showState(words) {
  const state = document.getElementById("live-state");
  state.hidden = false;
  state.textContent = words;
}

// A part in which somebody is writing is left alone.
function busy(part) {
  if (part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return true;
  return [...part.querySelectorAll("input:not([type=hidden]), textarea")].some((field) =>
    ["checkbox", "radio"].includes(field.type) ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
}

function replacePart(old, fresh) {
  const open = [...old.querySelectorAll("details[open][id]")].map((one) => one.id);
  const shut = [...old.querySelectorAll("details:not([open])[id]")].map((one) => one.id);
  old.replaceWith(fresh);
  for (const one of fresh.querySelectorAll("details[id]")) {
    if (open.includes(one.id)) one.open = true;
    if (shut.includes(one.id)) one.open = false;
  }
}

let fetching = false, again = false;

async function refresh() {
  if (fetching) { again = true; return; }
  fetching = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (answer.redirected && new URL(answer.url).pathname === "/login") { location.assign(answer.url); return; }
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const parts = [...document.querySelectorAll("[data-live-part]")];
    const fresh = [...page.querySelectorAll("[data-live-part]")];
    const same = parts.length === fresh.length && parts.every((part, index) => part.id === fresh[index].id);
    if (!same && !parts.some(busy)) {
      document.getElementById("main").replaceWith(page.getElementById("main"));
    } else {
      for (const part of fresh) {
        const old = document.getElementById(part.id);
        if (old && old.dataset.source !== part.innerHTML && !busy(old)) {
          const source = part.innerHTML;
          replacePart(old, part);
          part.dataset.source = source;
        }
      }
    }
    if (document.title !== page.title) { document.title = page.title; say(page.title); }
    tellTimes();
  } catch {
    showState("not connected");
  } finally {
    fetching = false;
    if (again) { again = false; setTimeout(refresh, 500); }
  }
}

function followChanges() {
  let first = true, polling = 0;
  const source = new EventSource("/api/v1/changes");
  source.addEventListener("open", () => { showState("live"); clearInterval(polling); polling = 0; });
  source.addEventListener("change", () => {
    if (first) { first = false; return; }
    refresh();
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED || polling) return;
    showState(`looks every ${POLL_MS / 1000} s`);
    polling = setInterval(refresh, POLL_MS);
  });
  addEventListener("pagehide", () => source.close());
}

function followRun(list) {
  const source = new EventSource(list.dataset.run);
  source.addEventListener("open", () => showState("live"));
  source.addEventListener("line", (event) => {
    const line = JSON.parse(event.data);
    const near = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    const item = document.createElement("li");
    item.className = line.kind.replace(/[^a-z_]/g, "");
    for (const [name, kind, text] of [["span", "kind", line.kind], ["b", "", line.host], ["span", "", line.task], ["span", "text", line.text]]) {
      if (!text) continue;
      const part = document.createElement(name);
      if (kind) part.className = kind;
      part.textContent = text;
      item.append(part, " ");
    }
    list.append(item);
    if (near) list.scrollTop = list.scrollHeight;
  });
  source.addEventListener("end", () => { source.close(); location.reload(); });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), POLL_MS);
  });
  addEventListener("pagehide", () => source.close());
}

function openTarget() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

tellTimes();
setInterval(tellTimes, 1000);
openTarget();
addEventListener("hashchange", openTarget);
const output = document.querySelector("[data-run]");
if (output) followRun(output);
else if ("live" in document.body.dataset) followChanges();
