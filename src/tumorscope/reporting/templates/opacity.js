for (const slider of document.querySelectorAll(".opacity")) slider.hidden = false;
document.addEventListener("input", (event) => {
  const slider = event.target.closest(".opacity");
  if (!slider) return;
  slider.closest("figure").style.setProperty("--opacity", event.target.value / 100);
  slider.querySelector("output").value = event.target.value + " %";
});
