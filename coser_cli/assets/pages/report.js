"use strict";
(() => {
  const cards = document.getElementById("cards");
  const articles = [...cards.querySelectorAll("article")];
  const buttons = [...document.querySelectorAll("#filters button")];
  const none = document.getElementById("none");
  const order = document.getElementById("order");

  function show(status) {
    for (const each of buttons) each.setAttribute("aria-pressed", each.dataset.show === status);
    for (const each of articles) each.hidden = status !== "all" && each.dataset.status !== status;
    none.hidden = articles.some((each) => !each.hidden);
  }

  const orders = {
    run: () => 0,
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true }),
    seconds: (a, b) => b.dataset.seconds - a.dataset.seconds,
    pixels: (a, b) => b.dataset.pixels - a.dataset.pixels,
  };

  for (const each of buttons) each.addEventListener("click", () => show(each.dataset.show));
  order.addEventListener("change", () => cards.append(...[...articles].sort(orders[order.value])));
  // A link to a picture from the list of failures must not lead to a hidden one.
  window.addEventListener("hashchange", () => show("all"));
  document.getElementById("controls").hidden = false;

  // A range gives a slider for mouse, touch, keyboard and assistive technology at once.
  for (const each of articles) {
    if (each.dataset.slides !== "yes") continue;
    const pair = each.querySelector(".pair");
    const range = document.createElement("input");
    const edge = document.createElement("span");
    Object.assign(range, { type: "range", min: 0, max: 100, value: 50 });
    range.setAttribute("aria-label", `${each.dataset.name}: before on the left, after on the right`);
    range.addEventListener("input", () => pair.style.setProperty("--share", `${range.value}%`));
    edge.className = "edge";
    for (const link of pair.querySelectorAll("a")) link.tabIndex = -1;
    pair.classList.add("slides");
    pair.append(edge, range);
  }
})();
