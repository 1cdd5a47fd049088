"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const study = JSON.parse(at("data").textContent);
  const place = `coser-study-${study.study}`;
  const pictures = [at("left"), at("right")];
  let state = restored() || drawn();
  let began = 0;

  // Order and sides are drawn once per participant, and kept over a reload.
  function drawn() {
    const order = study.trials.map((_, index) => index);
    for (let last = order.length - 1; last > 0; last--) {
      const other = Math.floor(Math.random() * (last + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    const session = Array.from(crypto.getRandomValues(new Uint8Array(8)), (each) => each.toString(16).padStart(2, "0")).join("");
    return { session, participant: "", order, swapped: order.map(() => Math.random() < 0.5), choices: [], started: false };
  }

  // Browsers may forbid storage to local files: the study then lasts as long as the page.
  function restored() {
    try { return JSON.parse(localStorage.getItem(place)); } catch { return null; }
  }
  function keep() {
    try { localStorage.setItem(place, JSON.stringify(state)); } catch { /* see above */ }
  }

  function methodsOf(index) {
    const { methods } = study.trials[state.order[index]];
    return state.swapped[index] ? [methods[1], methods[0]] : methods;
  }

  function exported() {
    const choices = state.choices.map((each, index) => {
      const [left, right] = methodsOf(index);
      return { picture: study.trials[state.order[index]].picture, left, right, ...each };
    });
    const { type, version, study: id, question } = study;
    return { type, version, study: id, question, session: state.session, participant: state.participant, trials: study.trials.length, choices };
  }

  function show() {
    const done = state.choices.length, all = state.order.length;
    const stage = !state.started ? "start" : done < all ? "trial" : "end";
    for (const id of ["start", "trial", "end"]) at(id).hidden = id !== stage;
    at("count").textContent = stage === "trial" ? `${done + 1} of ${all}` : "";
    at("back").disabled = !done;
    if (stage === "end") at("text").value = JSON.stringify(exported(), null, 1);
    if (stage !== "trial") return;
    const trial = study.trials[state.order[done]];
    const sides = state.swapped[done] ? [trial.images[1], trial.images[0]] : trial.images;
    pictures.forEach((each, side) => { each.src = study.images[sides[side]]; });
    at("source-figure").hidden = trial.source === null;
    if (trial.source !== null) at("source").src = study.images[trial.source];
    fit();
    began = performance.now();
  }

  function choose(choice) {
    if (at("trial").hidden) return;
    state.choices.push({ choice, seconds: Math.round(performance.now() - began) / 1000 });
    keep();
    show();
  }

  function back() {
    state.choices.pop();
    keep();
    show();
  }

  function fit() {
    for (const each of pictures) each.style.objectFit = each.style.objectPosition = "";
  }

  // Both pictures at one screen pixel per pixel, with the same place under the pointer.
  function magnify(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const image = event.currentTarget.querySelector("img");
    const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
    const across = (event.clientX - box.left - (box.width - image.naturalWidth * scale) / 2) / (image.naturalWidth * scale);
    const down = (event.clientY - box.top - (box.height - image.naturalHeight * scale) / 2) / (image.naturalHeight * scale);
    for (const each of pictures) {
      each.style.objectFit = "none";
      each.style.objectPosition = `${event.clientX - box.left - across * each.naturalWidth}px ${event.clientY - box.top - down * each.naturalHeight}px`;
    }
  }

  for (const each of document.querySelectorAll(".pair figure")) {
    each.addEventListener("pointerdown", (event) => {
      each.setPointerCapture(event.pointerId);
      magnify(event);
    });
    each.addEventListener("pointermove", (event) => {
      if (each.hasPointerCapture(event.pointerId)) magnify(event);
    });
    each.addEventListener("lostpointercapture", fit);
  }

  at("begin").addEventListener("click", () => {
    state.started = true;
    state.participant = at("participant").value.trim();
    keep();
    show();
  });
  for (const each of document.querySelectorAll("[data-choice]")) {
    each.addEventListener("click", () => choose(each.dataset.choice));
  }
  at("back").addEventListener("click", back);
  at("again").addEventListener("click", back);
  at("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(exported(), null, 1)], { type: "application/json" }));
    link.download = `study-${study.study}-${state.session}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  at("next").addEventListener("click", () => {
    state = drawn();
    at("participant").value = "";
    keep();
    show();
  });
  document.addEventListener("keydown", (event) => {
    if (at("trial").hidden || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const choices = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal" };
    if (event.key in choices) choose(choices[event.key]);
    else if (event.key === "Backspace" && state.choices.length) back();
    else return;
    event.preventDefault();
  });

  show();
})();
