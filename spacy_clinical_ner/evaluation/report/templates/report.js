"use strict";
(() => {
  // What is folded away is printed, too.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("main details:not([open])")) details.open = details.dataset.folded = true;
  });
  addEventListener("afterprint", () => {
    for (const details of document.querySelectorAll("details[data-folded]")) {
      details.open = false;
      delete details.dataset.folded;
    }
  });
  const status = document.getElementById("status");
  if (!status) return;

  const notes = [...document.querySelectorAll(".note")].map((note) => ({
    note, labels: note.dataset.labels.split(" "), rows: [...note.querySelectorAll("li[data-kind]")],
  }));
  const value = (id) => document.getElementById("filter-" + id).value;
  let errors = [], at = -1;

  const apply = () => {
    const [label, kind, name] = ["label", "kind", "name"].map(value);
    let shown = 0;
    errors = []; at = -1;
    for (const { note, labels, rows } of notes) {
      const fits = rows.filter((row) => (!label || row.dataset.label === label) && (!kind || row.dataset.kind === kind));
      if (label || kind || rows.some((row) => row.hidden)) for (const row of rows) row.hidden = !fits.includes(row);
      const wanted = kind ? fits.length > 0 : !label || fits.length > 0 || labels.includes(label);
      note.hidden = !(wanted && note.dataset.name.includes(name));
      if (!note.hidden) { shown += 1; errors.push(...fits); }
    }
    status.textContent = `${shown} notes, ${errors.length} errors`;
  };

  const show = (row, focus) => {
    document.querySelectorAll(".text .now").forEach((old) => old.classList.remove("now"));
    document.querySelectorAll(".text svg").forEach((old) => old.remove());
    const [head, tail] = [row.dataset.place, row.dataset.tail].map((id) => id && document.getElementById(id));
    if (!head) return;
    head.scrollIntoView({ block: "center" });
    for (const each of [head, tail]) if (each && each.matches(".text span")) each.classList.add("now");
    if (tail) arc(head, tail);
    if (focus) { head.tabIndex = -1; head.focus({ preventScroll: true }); }
    history.replaceState(null, "", "#" + head.id);
  };
  const jump = (step) => {
    if (!errors.length) return;
    at = at < 0 && step < 0 ? errors.length - 1 : (at + step + errors.length) % errors.length;
    show(errors[at], true);
    status.textContent = `error ${at + 1} of ${errors.length}: ${errors[at].textContent}`;
  };

  for (const id of ["label", "kind", "name"]) document.getElementById("filter-" + id).addEventListener("input", apply);
  document.getElementById("next").addEventListener("click", () => jump(1));
  document.getElementById("previous").addEventListener("click", () => jump(-1));
  addEventListener("click", (event) => {
    const row = event.target.closest("li[data-place] a")?.closest("li");
    if (!row) return;
    event.preventDefault();
    show(row, true);
    if (errors.includes(row)) at = errors.indexOf(row);
  });
  addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n") jump(1);
    if (event.key === "p") jump(-1);
  });
  apply();
})();
