"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const room = at("room"), frame = at("frame"), scroller = at("scroller"), stage = at("stage");
  const before = at("before"), after = at("tag-after"), divider = at("divider");
  const buttons = [...document.querySelectorAll("[data-zoom]")];
  const width = Number(stage.dataset.width), height = Number(stage.dataset.height);
  let share = 0.5; // of the visible width that shows A
  let zoom = "fit";

  document.documentElement.classList.add("live");

  function draw() {
    const edge = scroller.scrollLeft + share * scroller.clientWidth;
    before.style.clipPath = `inset(0 ${Math.max(0, stage.clientWidth - edge)}px 0 0)`;
    // Scroll bars are no part of the picture, and stay free.
    divider.style.height = `${scroller.clientHeight}px`;
    after.style.right = `${frame.clientWidth - scroller.clientWidth}px`;
    divider.style.left = `${share * scroller.clientWidth}px`;
    const percent = Math.round(share * 100);
    divider.setAttribute("aria-valuenow", percent);
    divider.setAttribute("aria-valuetext", `${percent} % A, ${100 - percent} % B`);
  }

  function move(value) {
    share = Math.min(1, Math.max(0, value));
    draw();
  }

  // One picture pixel is one pixel of the screen at 1:1, whatever the screen's density.
  function scaleOf(name) {
    const whole = 1 / window.devicePixelRatio;
    if (name !== "fit") return whole * Number(name);
    return Math.min(whole, room.clientWidth / width, room.clientHeight / height);
  }

  function layOut() {
    const scale = scaleOf(zoom);
    const across = width * scale, down = height * scale;
    document.documentElement.classList.toggle("zoomed", zoom !== "fit");
    document.documentElement.classList.toggle("enlarged", Number(zoom) > 1);
    stage.style.width = `${across}px`;
    stage.style.height = `${down}px`;
    frame.style.width = `${Math.min(across, room.clientWidth)}px`;
    frame.style.height = `${Math.min(down, room.clientHeight)}px`;
    draw();
  }

  // `point` (in the window) stays over the same place of the picture; default: the middle.
  function setZoom(name, point) {
    const old = stage.getBoundingClientRect(), view = scroller.getBoundingClientRect();
    const x = point ? point.clientX : view.left + view.width / 2;
    const y = point ? point.clientY : view.top + view.height / 2;
    const placeX = (x - old.left) / old.width, placeY = (y - old.top) / old.height;
    zoom = name;
    for (const each of buttons) each.setAttribute("aria-pressed", each.dataset.zoom === name);
    // The room grows with nothing but the window, so that measuring it needs an empty frame.
    frame.style.width = frame.style.height = "0";
    layOut();
    const now = scroller.getBoundingClientRect();
    scroller.scrollLeft = placeX * stage.clientWidth - (x - now.left);
    scroller.scrollTop = placeY * stage.clientHeight - (y - now.top);
    draw();
  }

  for (const each of buttons) each.addEventListener("click", () => setZoom(each.dataset.zoom));
  stage.addEventListener("dblclick", (event) => setZoom(zoom === "fit" ? "1" : "fit", event));
  scroller.addEventListener("scroll", draw, { passive: true });
  window.addEventListener("resize", () => setZoom(zoom));

  function drag(element, begins, moves) {
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !begins(event)) return;
      element.setPointerCapture(event.pointerId);
      element.classList.add("held");
      moves(event);
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) moves(event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, () => element.classList.remove("held"));
    }
  }

  function toPointer(event) {
    const view = scroller.getBoundingClientRect();
    move((event.clientX - view.left) / scroller.clientWidth);
  }

  let last = null;
  function pan(event) {
    scroller.scrollLeft += last.clientX - event.clientX;
    scroller.scrollTop += last.clientY - event.clientY;
    last = event;
  }

  drag(divider, () => true, toPointer);
  // Fit: the picture is a handle, too. Enlarged: the mouse pans it, and a finger scrolls by itself.
  drag(
    stage,
    (event) => {
      last = event;
      return zoom === "fit" || event.pointerType === "mouse";
    },
    (event) => (zoom === "fit" ? toPointer(event) : pan(event)),
  );

  const steps = { ArrowLeft: -0.01, ArrowDown: -0.01, ArrowRight: 0.01, ArrowUp: 0.01, PageDown: -0.1, PageUp: 0.1 };
  document.addEventListener("keydown", (event) => {
    // The keys of a picture that is scrolled by keyboard are its own.
    if (event.target === scroller || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Home") move(0);
    else if (event.key === "End") move(1);
    else if (event.key in steps) move(share + steps[event.key] * (event.shiftKey ? 10 : 1));
    else return;
    event.preventDefault();
  });

  setZoom("fit");
})();
