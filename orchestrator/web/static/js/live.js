// Live parts: when something changes, the page is fetched again and the parts that differ are exchanged.
import { tellTimes } from "./times.js";

const POLL_MS = 5000;

export function say(words) {
  document.getElementById("said").textContent = words;
}

export function showState(words, state) {
  const element = document.getElementById("live-state");
  element.hidden = false;
  element.textContent = words;
  element.dataset.state = state;
}

function toast(words) {
  document.querySelector(".toast")?.remove();
  const box = document.createElement("div");
  box.className = "toast";
  box.setAttribute("role", "alert");
  box.textContent = words;
  document.body.append(box);
  setTimeout(() => box.remove(), 12000);
}

// A part in which somebody is writing is left alone.
function busy(part) {
  if (part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return true;
  return [...part.querySelectorAll("input:not([type=hidden]), textarea")].some((field) => !field.closest(".toolbar") &&
    (["checkbox", "radio"].includes(field.type) ? field.checked !== field.defaultChecked : field.value !== field.defaultValue));
}

function keepFolds(old, fresh) {
  for (const one of old.querySelectorAll("details[id]")) {
    const same = fresh.querySelector(`#${CSS.escape(one.id)}`);
    if (same && one.dataset.touched) { same.open = one.open; same.dataset.touched = "yes"; }
  }
}

function exchange(old, fresh) {
  const source = fresh.innerHTML;
  if (old.dataset.source === source || busy(old)) return;
  keepFolds(old, fresh);
  const focused = old.contains(document.activeElement) && document.activeElement.id;
  fresh.dataset.source = source;
  old.replaceWith(fresh);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// What was asked has been answered elsewhere, or asked anew: a form of the old question must not be sent.
function endQuestion(page) {
  const state = document.body.dataset.question;
  const now = page.body.dataset.question;
  if (state === undefined || state === now) return;
  document.body.dataset.question = now ?? "";
  toast(page.getElementById("verdict-state")?.textContent.trim() || "This question has changed.");
  for (const form of document.querySelectorAll("form[data-question]")) for (const button of document.querySelectorAll(`form[data-question] button, button[form="${form.id}"]`)) button.disabled = true;
}

let fetching = false, again = false;

export async function refresh() {
  if (fetching) { again = true; return; }
  fetching = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (answer.redirected && new URL(answer.url).pathname === "/login") { location.assign(answer.url); return; }
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.body.dataset.seen = page.body.dataset.seen;
    endQuestion(page);
    const parts = [...document.querySelectorAll("[data-live-part]")];
    const fresh = [...page.querySelectorAll("[data-live-part]")];
    const same = parts.length === fresh.length && parts.every((part, index) => part.id === fresh[index].id);
    const main = document.getElementById("main");
    if (!same && !busy(main)) {
      keepFolds(main, page.getElementById("main"));
      main.replaceWith(page.getElementById("main"));
      document.querySelector(".bar")?.remove();
      const bar = page.querySelector(".bar");
      if (bar) document.getElementById("main").after(bar);
    } else {
      for (const part of fresh) {
        const old = document.getElementById(part.id);
        if (old) exchange(old, part);
      }
    }
    if (document.title !== page.title) { document.title = page.title; say(page.title); }
    for (const one of document.querySelectorAll("[data-scripted]")) one.hidden = false;
    tellTimes();
    document.dispatchEvent(new Event("refreshed"));
  } catch {
    showState("not connected", "lost");
  } finally {
    fetching = false;
    if (again) { again = false; setTimeout(refresh, 500); }
  }
}

let source = null, polling = 0;

// One connection tells that something has changed; while a run is followed, its own stream takes the place.
export function followChanges() {
  stopChanges();
  source = new EventSource("/api/v1/changes");
  source.addEventListener("open", () => { showState("live", "live"); clearInterval(polling); polling = 0; });
  // The page carries the number of the newest event it was made with: what came between then and now is not missed.
  source.addEventListener("change", (event) => {
    if (JSON.parse(event.data).id > Number(document.body.dataset.seen)) refresh();
  });
  source.addEventListener("error", () => {
    if (source?.readyState !== EventSource.CLOSED) { showState("connecting again", "lost"); return; }
    if (polling) return;
    showState(`looks every ${POLL_MS / 1000} s`, "poll");
    polling = setInterval(refresh, POLL_MS);
  });
}

export function stopChanges() {
  source?.close();
  source = null;
  clearInterval(polling);
  polling = 0;
}

document.addEventListener("toggle", (event) => { if (event.target.id) event.target.dataset.touched = "yes"; }, true);
