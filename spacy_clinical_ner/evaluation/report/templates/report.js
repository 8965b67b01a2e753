"use strict";
(() => {
  const notes = [...document.querySelectorAll(".note")];
  const value = (id) => document.getElementById(id).value;
  const status = document.getElementById("status");
  let errors = [], at = -1;
  const apply = () => {
    const [label, kind, name] = ["label", "kind", "name"].map((id) => value("filter-" + id));
    let shown = 0;
    errors = []; at = -1;
    for (const note of notes) {
      const rows = [...note.querySelectorAll("li[data-kind]")];
      const fits = rows.filter((row) => (!label || row.dataset.label === label) && (!kind || row.dataset.kind === kind));
      for (const row of rows) row.hidden = !fits.includes(row);
      const visible = (!label && !kind ? true : fits.length > 0) && note.dataset.name.includes(name);
      note.hidden = !visible;
      if (visible) { shown += 1; errors.push(...fits.map((row) => row.dataset.place)); }
    }
    status.textContent = `${shown} notes, ${errors.length} errors`;
  };
  const jump = (step) => {
    if (!errors.length) return;
    at = (at + step + errors.length) % errors.length;
    document.querySelectorAll(".now").forEach((old) => old.classList.remove("now"));
    const target = document.getElementById(errors[at]);
    if (!target) return;
    target.classList.add("now");
    target.scrollIntoView({ block: "center" });
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
    status.textContent = `error ${at + 1} of ${errors.length}`;
    history.replaceState(null, "", "#" + errors[at]);
  };
  for (const id of ["label", "kind", "name"]) document.getElementById("filter-" + id).addEventListener("input", apply);
  document.getElementById("next").addEventListener("click", () => jump(1));
  document.getElementById("previous").addEventListener("click", () => jump(-1));
  document.addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n") jump(1);
    if (event.key === "p") jump(-1);
  });
  apply();
})();
