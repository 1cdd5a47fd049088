"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const root = document.documentElement, room = at("room"), divider = at("divider");
  const pictures = [...room.querySelectorAll(".picture")];
  const width = Number(room.dataset.width), height = Number(room.dataset.height);
  const choices = [at("left-choice"), at("right-choice")];
  const zooms = [...document.querySelectorAll("[data-zoom]")];
  const views = [...document.querySelectorAll("[data-view]")];
  const letters = pictures.map((each) => each.dataset.letter);
  const MOST = 32; // screen pixels per picture pixel
  const whole = () => 1 / window.devicePixelRatio; // one picture pixel on one screen pixel

  let view = "slider";
  let sides = [0, 1]; // which pictures the slider shows left and right
  let share = 0.5; // of the visible width that shows the left one
  let fitted = true; // the scale follows the window
  let scale = 1; // CSS pixels per picture pixel
  let centre = { x: width / 2, y: height / 2 }; // place of the picture in the middle of a pane
  let panes = [];

  root.classList.add("live");

  function make(kind, name, text = "") {
    const element = document.createElement(kind);
    element.className = name;
    element.textContent = text;
    return element;
  }

  // Slider: one pane with two pictures, the left one above. Side by side: a pane per picture.
  function build() {
    for (const each of panes) each.remove();
    for (const each of pictures) { each.remove(); each.style.clipPath = ""; }
    const groups = view === "slider" ? [[pictures[sides[1]], pictures[sides[0]]]] : pictures.map((each) => [each]);
    panes = groups.map((group) => {
      const pane = make("div", "pane");
      pane.append(...group);
      if (view === "slider") {
        pane.append(make("span", "tag of-left", group[1].dataset.tag), make("span", "tag of-right", group[0].dataset.tag));
      } else {
        pane.append(make("span", "tag of-left", group[0].dataset.tag));
      }
      room.insertBefore(pane, divider);
      return pane;
    });
    root.classList.toggle("slider", view === "slider");
    for (const each of views) each.setAttribute("aria-pressed", each.dataset.view === view);
    at("left-choice").closest(".sides").hidden = view !== "slider" || pictures.length < 3;
    layOut();
  }

  const paneSize = () => ({ across: panes[0].clientWidth, down: panes[0].clientHeight });

  function fitScale() {
    const { across, down } = paneSize();
    return Math.min(across / width, down / height);
  }

  function inside(value, size, room) {
    const half = room / 2 / scale;
    return size <= 2 * half ? size / 2 : Math.min(size - half, Math.max(half, value));
  }

  function layOut() {
    if (fitted) scale = fitScale();
    const { across, down } = paneSize();
    centre = { x: inside(centre.x, width, across), y: inside(centre.y, height, down) };
    const left = across / 2 - centre.x * scale, top = down / 2 - centre.y * scale;
    for (const each of pictures) each.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    const real = scale / whole();
    root.classList.toggle("pans", width * scale > across + 0.5 || height * scale > down + 0.5);
    root.classList.toggle("pixels", real >= 2);
    at("scale").textContent = `${real < 0.1 ? (100 * real).toFixed(1) : Math.round(100 * real)} %`;
    for (const each of zooms) {
      const name = each.dataset.zoom;
      const pressed = name === "fit" ? fitted : !fitted && Math.abs(real / Number(name) - 1) < 0.001;
      each.setAttribute("aria-pressed", pressed);
    }
    if (view === "slider") divide(left, top, across, down);
  }

  function divide(left, top, across, down) {
    const from = Math.max(0, left), to = Math.min(across, left + width * scale);
    const edge = from + share * (to - from);
    const above = pictures[sides[0]];
    above.style.clipPath = `inset(0 ${Math.max(0, width - (edge - left) / scale)}px 0 0)`;
    const upper = Math.max(0, top);
    divider.style.left = `${edge}px`;
    divider.style.top = `${upper}px`;
    divider.style.height = `${Math.min(down, top + height * scale) - upper}px`;
    const percent = Math.round(share * 100);
    divider.setAttribute("aria-valuenow", percent);
    divider.setAttribute("aria-valuetext", `${percent} % ${letters[sides[0]]}, ${100 - percent} % ${letters[sides[1]]}`);
  }

  // Where a point of the window lies in its pane, and in the picture.
  function placeOf(x, y) {
    const pane = panes.find((each) => x < each.getBoundingClientRect().right) || panes.at(-1);
    const box = pane.getBoundingClientRect();
    const { across, down } = paneSize();
    const at = { x: x - box.left - across / 2, y: y - box.top - down / 2 };
    return { at, picture: { x: centre.x + at.x / scale, y: centre.y + at.y / scale } };
  }

  // The place of the picture under the point stays there.
  function zoomTo(value, x, y) {
    const { at, picture } = placeOf(x, y);
    const least = Math.min(fitScale(), whole());
    scale = Math.min(MOST * whole(), Math.max(least, value));
    fitted = false;
    centre = { x: picture.x - at.x / scale, y: picture.y - at.y / scale };
    layOut();
  }

  function middle() {
    const box = panes[0].getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  }

  function setZoom(name, x, y) {
    if (name === "fit") {
      fitted = true;
      layOut();
    } else {
      zoomTo(Number(name) * whole(), ...(x === undefined ? middle() : [x, y]));
    }
  }

  function move(value) {
    share = Math.min(1, Math.max(0, value));
    layOut();
  }

  function toPointer(event) {
    const box = panes[0].getBoundingClientRect();
    const { across } = paneSize();
    const left = across / 2 - centre.x * scale;
    const from = Math.max(0, left), to = Math.min(across, left + width * scale);
    move((event.clientX - box.left - from) / (to - from));
  }

  function pan(across, down) {
    centre = { x: centre.x - across / scale, y: centre.y - down / scale };
    layOut();
  }

  const held = new Map(); // pointers that are down
  let grip = ""; // what the first of them does: divider, pan

  room.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    room.setPointerCapture(event.pointerId);
    if (!held.size) {
      const slides = divider.contains(event.target) || !root.classList.contains("pans");
      grip = view === "slider" && slides ? "divider" : "pan";
    }
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    room.classList.add("held");
    if (held.size === 1 && grip === "divider") toPointer(event);
  });
  room.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    if (held.size === 1 && grip === "divider") toPointer(event);
    else if (held.size === 1) pan(now.x - before.x, now.y - before.y);
    else if (held.size === 2) {
      const other = [...held].find(([id]) => id !== event.pointerId)[1];
      const apart = (point) => Math.hypot(point.x - other.x, point.y - other.y);
      pan((now.x - before.x) / 2, (now.y - before.y) / 2);
      if (apart(before) > 4) zoomTo((scale * apart(now)) / apart(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
      grip = "pan"; // the finger that stays pans
    }
    held.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    room.addEventListener(end, (event) => {
      held.delete(event.pointerId);
      room.classList.toggle("held", held.size > 0);
    });
  }

  room.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 24 : 1; // Firefox counts a mouse wheel in lines
    zoomTo(scale * Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), event.clientX, event.clientY);
  }, { passive: false });
  room.addEventListener("dblclick", (event) => setZoom(fitted ? "1" : "fit", event.clientX, event.clientY));
  window.addEventListener("resize", layOut);

  for (const each of zooms) each.addEventListener("click", () => setZoom(each.dataset.zoom));
  for (const each of views) {
    each.addEventListener("click", () => {
      view = each.dataset.view;
      build();
    });
  }
  choices.forEach((each, side) => {
    each.value = String(side);
    each.addEventListener("change", () => {
      // The same picture on both sides shows nothing: the two change places.
      if (Number(each.value) === sides[1 - side]) {
        sides = [sides[1], sides[0]];
        choices[1 - side].value = String(sides[1 - side]);
      } else {
        sides[side] = Number(each.value);
      }
      build();
    });
  });

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], PageUp: [10, 0], PageDown: [-10, 0] };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
    const step = steps[event.key];
    if (event.key === "+" || event.key === "=") zoomTo(scale * 1.25, ...middle());
    else if (event.key === "-") zoomTo(scale / 1.25, ...middle());
    else if (event.key === "0") setZoom("fit");
    else if (view === "slider" && event.key === "Home") move(0);
    else if (view === "slider" && event.key === "End") move(1);
    else if (view === "slider" && step) move(share + 0.01 * (step[0] - step[1]) * (event.shiftKey ? 10 : 1));
    else if (step) pan(-40 * step[0], -40 * step[1]);
    else return;
    event.preventDefault();
  });

  build();
})();
