// Videos that are shown together run together: the first of each group leads, the others keep its time.
(() => {
  const group = (element) => element.closest?.(".mc-together");
  const videos = (box) => [...box.querySelectorAll("video")];

  const showTime = (box) => {
    const [lead] = videos(box);
    const slider = box.querySelector("input[type=range]");
    if (lead && lead.duration && document.activeElement !== slider) slider.value = (lead.currentTime / lead.duration) * 1000;
  };
  const follow = (box) => {
    const [lead, ...others] = videos(box);
    for (const video of others) {
      if (Math.abs(video.currentTime - lead.currentTime) > 0.06) video.currentTime = lead.currentTime;
    }
    showTime(box);
  };
  const run = (box, playing) => {
    for (const video of videos(box)) playing ? video.play() : video.pause();
    box.querySelector("[data-mc=play]").textContent = playing ? "Pause" : "Play";
    if (!playing) follow(box);
  };
  const seek = (box, time) => {
    for (const video of videos(box)) video.currentTime = Math.min(Math.max(time, 0), Math.max(video.duration - 0.01, 0));
    showTime(box);
  };

  // Events of media do not bubble, so they are caught on the way down.
  document.addEventListener("timeupdate", (event) => {
    const box = group(event.target);
    if (box) videos(box)[0].paused ? showTime(box) : follow(box);
  }, true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-mc]");
    const box = button && group(button);
    if (!box) return;
    const [lead] = videos(box);
    if (button.dataset.mc === "play") return run(box, lead.paused);
    run(box, false);
    seek(box, lead.currentTime + (button.dataset.mc === "on" ? 1 : -1) / box.dataset.fps);
  });
  document.addEventListener("input", (event) => {
    const box = event.target.type === "range" && group(event.target);
    if (!box) return;
    run(box, false);
    seek(box, (event.target.value / 1000) * videos(box)[0].duration);
  });
})();
