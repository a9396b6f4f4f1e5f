// A run's output as it comes: folded by play and task, with a search, a filter, and the end kept in sight.
import { showState, say } from "./live.js";

const WORST = ["", "skipped", "ok", "changed", "failed", "unreachable"];
const RETRY_MS = 5000;

function node(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

function word(kind) {
  return WORST.includes(kind) ? kind : "output";
}

// The name in Ansible's own line: `PLAY [Write the page] ****`.
function bare(text) {
  const line = text.trim().split("\n")[0];
  return /^(?:PLAY|TASK|RUNNING HANDLER) \[(.*)\] \**$/.exec(line)?.[1] ?? line;
}

function lastTask(list) {
  return list.querySelector(".tasks > details:last-of-type");
}

function addTask(list, title) {
  const before = lastTask(list);
  if (before && !before.matches(".failed, .unreachable")) before.open = false;
  const task = node("details");
  task.open = true;
  const summary = node("summary");
  summary.append(node("span", "name", title || "output"), node("span", "tallied"));
  task.append(summary, node("ol"));
  list.querySelector(".tasks").append(task);
  return task;
}

function addLine(list, line) {
  const kind = word(line.kind);
  const task = lastTask(list) ?? addTask(list, "");
  const item = node("li", kind);
  item.append(node("span", "kind", kind), " ");
  if (line.host) item.append(node("b", "", line.host));
  if (line.text) item.append(node("span", "text", line.text));
  task.querySelector("ol").append(item);
  const worst = Math.max(WORST.indexOf(kind), WORST.indexOf(task.dataset.worst ?? ""));
  task.dataset.worst = WORST[Math.max(worst, 0)];
  task.className = task.dataset.worst;
  const counts = {};
  for (const one of task.querySelectorAll("li")) if (one.className !== "output") counts[one.className] = (counts[one.className] ?? 0) + 1;
  task.querySelector(".tallied").textContent = Object.entries(counts).map(([name, number]) => `${number} ${name}`).join(", ");
  if (line.host) tellHost(line.host, kind, line.task);
}

function addHost(table, host) {
  const row = node("tr");
  row.dataset.host = host;
  const name = node("th", "mono", host), last = node("td", "dim");
  name.scope = "row";
  last.dataset.last = "";
  row.append(name, last);
  for (const kind of ["ok", "changed", "failed", "unreachable", "skipped"]) {
    const count = node("td", "num", "0");
    count.dataset.count = kind;
    row.append(count);
  }
  table.append(row);
  return row;
}

function tellHost(host, kind, task) {
  const table = document.querySelector("[data-hosts]");
  if (!table) return;
  const row = [...table.querySelectorAll("[data-host]")].find((one) => one.dataset.host === host) ?? addHost(table, host);
  row.querySelector("[data-last]").textContent = `${kind}: ${task}`;
  const count = row.querySelector(`[data-count="${kind}"]`);
  if (count) count.textContent = String(Number(count.textContent) + 1);
}

function take(list, line) {
  if (line.kind === "play") list.querySelector(".tasks").append(node("h3", "", line.task || bare(line.text)));
  else if (line.kind === "task") addTask(list, line.task || bare(line.text));
  else if (line.kind !== "stats") addLine(list, line);
}

let seek = () => {}, source = null;

function wantsEnd() {
  return document.querySelector("#tools [name=follow]")?.checked ?? true;
}

// Search, filter and folding, for a run that goes on and for one that has ended.
export function listenToTools(list) {
  const bar = document.getElementById("tools");
  if (!bar) return;
  const [search, faults] = ["search", "faults"].map((name) => bar.querySelector(`[name=${name}]`));
  seek = () => {
    const wanted = search.value.trim().toLowerCase();
    let hits = 0;
    for (const task of list.querySelectorAll("details")) {
      let shown = 0;
      for (const item of task.querySelectorAll("li")) {
        const fits = (!wanted || item.textContent.toLowerCase().includes(wanted)) && (!faults.checked || item.matches(".failed, .unreachable"));
        item.classList.toggle("miss", !fits);
        shown += fits;
      }
      const named = wanted && !faults.checked && task.querySelector("summary").textContent.toLowerCase().includes(wanted);
      task.classList.toggle("miss", Boolean((wanted || faults.checked) && !shown && !named));
      if (wanted && shown) task.open = true;
      hits += shown || (named ? 1 : 0);
    }
    bar.querySelector(".found").textContent = wanted || faults.checked ? `${hits} found` : "";
  };
  search.addEventListener("input", seek);
  faults.addEventListener("change", seek);
  for (const button of bar.querySelectorAll("[data-fold]")) {
    button.addEventListener("click", () => { for (const one of list.querySelectorAll("details")) one.open = button.dataset.fold === "open"; });
  }
}

export function stopRun() {
  source?.close();
}

export function followRun(list, whenEnded) {
  list.dataset.followed = "yes";
  const mine = new EventSource(`${list.dataset.run}?after=${list.dataset.last}`);
  source = mine;
  mine.addEventListener("open", () => showState("live", "live"));
  mine.addEventListener("line", (event) => {
    const line = JSON.parse(event.data);
    if (line.seq <= Number(list.dataset.last)) return; // told already, before the connection broke
    list.dataset.last = String(line.seq);
    take(list, line);
    seek();
    if (wantsEnd()) list.scrollTop = list.scrollHeight;
  });
  mine.addEventListener("end", () => { mine.close(); say("The run has ended."); whenEnded(); });
  mine.addEventListener("error", () => {
    showState("connecting again", "lost");
    if (mine.readyState === EventSource.CLOSED && source === mine) setTimeout(() => followRun(list, whenEnded), RETRY_MS);
  });
  list.scrollTop = list.scrollHeight;
}
