// Forms: a button says what it will do with what is ticked, and is pressed once.
function tellScope(form) {
  const boxes = [...form.querySelectorAll("input[name=hosts]")];
  if (!boxes.length) return;
  const chosen = boxes.filter((box) => box.checked);
  const words = chosen.length === boxes.length ? form.dataset.all : `${form.dataset.verb} on ${chosen.length} of ${boxes.length} hosts`;
  for (const label of document.querySelectorAll(`[data-scope="${form.id}"]`)) label.textContent = words;
  for (const button of document.querySelectorAll(`button[form="${form.id}"], #${form.id} button.go`)) button.disabled = !chosen.length;
}

export function mindForms() {
  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("form[data-all]");
    if (form) tellScope(form);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    if (event.target.method === "post") event.target.dataset.sent = "yes";
  });
  // Back after sending: the form may be sent again, the server decides.
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
    for (const form of document.querySelectorAll("form[data-all]")) tellScope(form);
  });
}
