"use strict";
// An arc from the head to the tail of a relation, over the text.
const arc = (head, tail) => {
  const text = head.closest(".text");
  if (!text || tail.closest(".text") !== text) return;
  const box = text.getBoundingClientRect(), up = box.top - text.scrollTop;
  const [a, b] = [head, tail].map((each) => each.getClientRects()[0]);
  const [x1, y1, x2, y2] = [a.left + a.width / 2 - box.left, a.top - up, b.left + b.width / 2 - box.left, b.top - up];
  const top = Math.min(y1, y2) - 14 - Math.abs(x1 - x2) / 12;
  text.insertAdjacentHTML("beforeend", `<svg aria-hidden="true"><path d="M${x1} ${y1}C${x1} ${top} ${x2} ${top} ${x2} ${y2}m-4 -8 4 8 4 -8"/></svg>`);
};
