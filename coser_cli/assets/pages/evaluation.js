"use strict";
(() => {
  for (const row of document.querySelectorAll("article")) {
    const images = [...row.querySelectorAll("figure img")];
    row.addEventListener("click", (event) => {
      if (!images.includes(event.target)) return;
      const large = row.classList.toggle("large");
      for (const each of images) each.style.width = large ? `${2 * each.getAttribute("width")}px` : "";
      for (const each of images) each.style.height = large ? `${2 * each.getAttribute("height")}px` : "";
    });
  }
})();
