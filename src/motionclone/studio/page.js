// What the page does by itself: handles on a clip, frames in motion, videos in step. Nothing is asked of others.
(() => {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // Ready motions: what the controls take over when one is picked, or a clip of one's own takes its place.
  const radios = () => all("input[name=mc-ready]");
  const mark = (name) => radios().forEach((radio) => (radio.checked = radio.value === name));
  const picked = () => [null, radios().find((radio) => radio.checked)?.value ?? null, 0, 0, null, false, 0];

  // The clip as a whole: two handles in its time, a box in its picture.
  let chosen = [0, 0, null];
  const seconds = (value) => `${value.toFixed(2)} s`;
  const timeOf = (handle) => Number(((handle.value / handle.max) * handle.closest(".mc-edit").dataset.seconds).toFixed(3));
  const boxOf = (editor) => editor.dataset.box.split(",").map(Number);
  const isWhole = ([left, top, right, bottom]) => left <= 0 && top <= 0 && right >= 1 && bottom >= 1;
  const largest = (editor) => { // the box of the model's aspect
    const aspect = Number(editor.dataset.aspect), [width, height] = aspect > 1 ? [1, 1 / aspect] : [aspect, 1];
    return [(1 - width) / 2, (1 - height) / 2, (1 + width) / 2, (1 + height) / 2];
  };
  const draw = (editor) => {
    const [left, top, right, bottom] = boxOf(editor), length = Number(editor.dataset.seconds);
    const [from, to] = [".mc-from", ".mc-to"].map((each) => {
      const handle = editor.querySelector(each), at = timeOf(handle);
      handle.ariaValueText = seconds(at);
      return at;
    });
    Object.assign(editor.querySelector(".mc-box").style, {
      left: `${left * 100}%`, top: `${top * 100}%`, width: `${(right - left) * 100}%`, height: `${(bottom - top) * 100}%`,
    });
    const trim = editor.querySelector(".mc-trim");
    trim.style.setProperty("--from", from / length);
    trim.style.setProperty("--to", to / length);
    const uncut = isWhole(boxOf(editor));
    editor.toggleAttribute("data-whole", uncut);
    const cut = uncut ? "the whole picture" : `${Math.round((right - left) * 100)} % of its width`;
    editor.querySelector(".mc-said").textContent = `${seconds(from)} to ${seconds(to)} of ${seconds(length)}, ${cut}.`;
  };
  let waiting = 0;
  const tell = (editor, after = 0) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const to = editor.querySelector(".mc-to"), box = boxOf(editor);
      chosen = [timeOf(editor.querySelector(".mc-from")), to.value === to.max ? 0 : timeOf(to), isWhole(box) ? null : box];
      editor.dispatchEvent(new CustomEvent("mc-part", {bubbles: true}));
    }, after);
  };
  const setBox = (editor, box) => {
    editor.dataset.box = box.map((share) => share.toFixed(4)).join(",");
    draw(editor);
  };
  const moved = ([left, top, right, bottom], x, y) => {
    const dx = clamp(x, -left, 1 - right), dy = clamp(y, -top, 1 - bottom);
    return [left + dx, top + dy, right + dx, bottom + dy];
  };
  const resized = (editor, box, factor) => {
    const aspect = Number(editor.dataset.aspect), [left, top, right, bottom] = isWhole(box) ? largest(editor) : box;
    const height = clamp((bottom - top) * factor, 0.08, Math.min(1, 1 / aspect)), width = height * aspect;
    const x = clamp((left + right - width) / 2, 0, 1 - width), y = clamp((top + bottom - height) / 2, 0, 1 - height);
    return [x, y, x + width, y + height];
  };
  const drawn = (editor, [ax, ay], [x, y]) => {
    const aspect = Number(editor.dataset.aspect), [right, down] = [x >= ax, y >= ay];
    const room = Math.min(down ? 1 - ay : ay, (right ? 1 - ax : ax) / aspect);
    const height = Math.min(Math.max(Math.abs(y - ay), Math.abs(x - ax) / aspect), room), width = height * aspect;
    return [right ? ax : ax - width, down ? ay : ay - height, right ? ax + width : ax, down ? ay + height : ay];
  };
  const share = (whole, event) => {
    const place = whole.getBoundingClientRect();
    return [(event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height].map((each) => clamp(each, 0, 1));
  };
  document.addEventListener("pointerdown", (event) => {
    const whole = event.target.closest?.(".mc-whole");
    if (!whole) return;
    event.preventDefault();
    whole.querySelector(".mc-box").focus({preventScroll: true});
    whole.setPointerCapture(event.pointerId);
    const editor = whole.closest(".mc-edit"), before = boxOf(editor), [ax, ay] = share(whole, event);
    const inside = !isWhole(before) && ax > before[0] && ax < before[2] && ay > before[1] && ay < before[3];
    const move = (next) => {
      const [x, y] = share(whole, next);
      const box = inside ? moved(before, x - ax, y - ay) : drawn(editor, [ax, ay], [x, y]);
      if (inside || box[3] - box[1] > 0.06) setBox(editor, box);
    };
    whole.addEventListener("pointermove", move);
    whole.addEventListener("lostpointercapture", () => {
      whole.removeEventListener("pointermove", move);
      if (String(boxOf(editor)) !== String(before)) tell(editor);
    }, {once: true});
  });
  document.addEventListener("keydown", (event) => {
    const editor = event.target.closest?.(".mc-box")?.closest(".mc-edit");
    if (!editor) return;
    const box = boxOf(editor), step = {ArrowLeft: [-0.02, 0], ArrowRight: [0.02, 0], ArrowUp: [0, -0.02], ArrowDown: [0, 0.02]}[event.key];
    const factor = {"+": 1.08, "=": 1.08, "-": 1 / 1.08}[event.key];
    if (!step && !factor && event.key !== "Escape") return;
    event.preventDefault();
    setBox(editor, step ? moved(box, ...step) : factor ? resized(editor, box, factor) : [0, 0, 1, 1]);
    tell(editor, 400);
  });
  const trimmed = (input) => {
    const editor = input.closest(".mc-edit"), [from, to] = [".mc-from", ".mc-to"].map((each) => editor.querySelector(each));
    const least = 4; // parts of the time, between the handles
    if (input === from) from.value = Math.min(Number(from.value), Number(to.value) - least);
    else to.value = Math.max(Number(to.value), Number(from.value) + least);
    draw(editor);
    tell(editor, 250);
  };

  // The frames that will be read, one after the other.
  const plays = (film) => film.querySelector("[data-film=play]").textContent === "Pause";
  const step = () => {
    for (const film of all(".mc-film")) {
      const frames = all(".mc-strip img", film), warm = film.querySelector("[data-film=heat]")?.checked;
      if (plays(film)) film.at = (performance.now() / 1000) * Math.min(Number(film.dataset.fps), 30);
      const now = frames[Math.floor(film.at ?? 0) % frames.length];
      const source = (warm && now.dataset.heat) || now.src, stage = film.querySelector(".mc-stage img");
      if (stage.src !== source) stage.src = source;
      for (const frame of frames) frame.classList.toggle("mc-now", frame === now);
    }
    setTimeout(step, 40);
  };

  // Lines of a first frame, drawn over the one of the clip, which is not part of the drawing.
  let lines = [], drawing = null;
  const redraw = (canvas) => {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    Object.assign(pen, {lineWidth: canvas.width / 48, lineCap: "round", lineJoin: "round", strokeStyle: "#000"});
    for (const [[x, y], ...others] of lines) {
      pen.beginPath();
      pen.moveTo(x, y);
      for (const point of [[x + 0.01, y], ...others]) pen.lineTo(...point);
      pen.stroke();
    }
  };
  document.addEventListener("pointerdown", (event) => {
    const canvas = event.target.closest?.(".mc-easel canvas");
    if (!canvas) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    const at = (each) => share(canvas, each).map((part, axis) => part * (axis ? canvas.height : canvas.width));
    const line = [at(event)];
    lines.push(line);
    const move = (next) => (line.push(at(next)), redraw(canvas));
    redraw(canvas);
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("lostpointercapture", () => canvas.removeEventListener("pointermove", move), {once: true});
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-draw]"), canvas = button && document.querySelector(".mc-easel canvas");
    if (!button) return;
    if (button.dataset.draw === "take" && lines.length) {
      canvas.toBlob((blob) => canvas.dispatchEvent(new CustomEvent("mc-drawn", {bubbles: true, detail: new File([blob], "drawing.png", {type: "image/png"})})));
    }
    if (button.dataset.draw !== "take") lines = button.dataset.draw === "undo" ? lines.slice(0, -1) : [];
    redraw(canvas);
  });
  const keep = (path, url, file) => {
    drawing = {path, url, orig_name: file.name, size: file.size, mime_type: file.type, meta: {_type: "gradio.FileData"}};
  };
  const trace = () => { // shows the first frame under the lines
    const easel = document.querySelector(".mc-easel"), frame = document.querySelector(".mc-strip img");
    if (easel && frame && easel.dataset.frame !== frame.src) {
      easel.dataset.frame = frame.src;
      easel.style.backgroundImage = `linear-gradient(#fffa, #fffa), url("${frame.src}")`;
    }
  };

  // Videos that are shown together run together: the longest of each group leads, the others keep its time, and one that
  // is shorter waits at its end.
  const group = (element) => element.closest?.(".mc-together");
  const videos = (box) => all("video", box);
  const leader = (box) => videos(box).reduce((longest, video) => (video.duration > longest.duration + 0.01 ? video : longest));
  const framesOf = (box) => { // in the time of its own, also if another result is longer
    const lead = leader(box), {fps, frames} = box.dataset;
    return lead.closest("[data-other]") ? Math.round(lead.duration * fps) : Number(frames);
  };
  const frameOf = (box) => clamp(Math.floor(leader(box).currentTime * box.dataset.fps + 0.01) + 1, 1, framesOf(box));
  const showTime = (box) => {
    const place = box.querySelector(".mc-place"), frame = frameOf(box);
    place.max = framesOf(box);
    if (document.activeElement !== place || runs(box)) place.value = frame;
    box.querySelector(".mc-frame").textContent = `${frame} / ${place.max}`;
  };
  const runs = (box) => box.querySelector("[data-mc=play]").textContent === "Pause";
  const start = (video) => video.play().catch(() => {}); // it is gone
  const within = (video, at) => Math.min(at, (video.duration || Infinity) - 0.001);
  const follow = (box) => {
    const lead = leader(box), now = lead.currentTime;
    for (const video of videos(box)) {
      video.loop = !(video.duration < lead.duration - 0.1);
      if (Math.abs(video.currentTime - within(video, now)) > 0.06) video.currentTime = within(video, now);
      if (video.paused && runs(box) && now < video.duration - 0.05) start(video);
    }
    showTime(box);
  };
  const run = (box, playing) => {
    box.querySelector("[data-mc=play]").textContent = playing ? "Pause" : "Play";
    for (const video of videos(box)) if (!playing) video.pause();
    follow(box);
  };
  const seek = (box, frame) => {
    const to = clamp(frame, 1, framesOf(box));
    for (const video of videos(box)) video.currentTime = within(video, (to - 0.5) / box.dataset.fps);
    box.querySelector(".mc-place").value = to;
  };
  // Other results of the history can be laid over this one, each in a figure that is there while it is seen.
  const offer = (box) => {
    const cards = all(".mc-card [data-video]").filter((card) => card.ariaPressed !== "true").slice(0, 30);
    const offered = cards.map((card) => card.dataset.job).join();
    if ((box.dataset.offered ?? "") === offered) return;
    box.dataset.offered = offered;
    for (const select of all("[data-side]", box)) {
      const before = select.value, others = Object.assign(document.createElement("optgroup"), {label: "Another result"});
      select.querySelector("optgroup")?.remove();
      others.append(...cards.map((card) => new Option(card.dataset.name, card.dataset.job)));
      if (cards.length) select.append(others);
      const kept = [...select.options].find((option) => option.value === before);
      (kept ?? [...select.options].find((option) => option.defaultSelected)).selected = true;
    }
    wipe(box);
  };
  const other = (box, job) => {
    const {video: src, name} = document.querySelector(`.mc-card [data-job="${job}"]`).dataset;
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const video = Object.assign(document.createElement("video"), {src, muted: true, playsInline: true, ariaLabel: name});
    video.addEventListener("loadedmetadata", () => {
      video.currentTime = within(video, videos(box)[0].currentTime);
      follow(box);
    });
    Object.assign(figure.dataset, {video: job, other: ""});
    caption.textContent = name;
    figure.append(video, caption);
    return figure;
  };
  const wipe = (box) => {
    if (!box.querySelector("[data-mode]")) return; // a sheet
    const wiping = box.querySelector("[data-mode=wipe]").ariaPressed === "true";
    box.classList.toggle("mc-wiping", wiping);
    const [left, right] = ["left", "right"].map((side) => box.querySelector(`[data-side=${side}]`).value);
    const seen = wiping ? [...new Set([left, right])] : [];
    for (const figure of all("figure[data-other]", box)) if (!seen.includes(figure.dataset.video)) figure.remove();
    for (const name of seen) {
      if (!box.querySelector(`figure[data-video="${name}"]`)) box.querySelector(".mc-wiper").before(other(box, name));
    }
    for (const figure of all("figure", box)) {
      figure.classList.toggle("mc-left", figure.dataset.video === left);
      figure.classList.toggle("mc-right", figure.dataset.video === right);
    }
    box.style.setProperty("--at", `${box.querySelector(".mc-wiper").value}%`);
  };
  // Events of media do not bubble, so they are caught on the way down.
  document.addEventListener("timeupdate", (event) => {
    const box = group(event.target);
    if (box) runs(box) ? follow(box) : showTime(box);
  }, true);
  document.addEventListener("click", (event) => {
    const film = event.target.closest?.("[data-film=play]");
    if (film) film.textContent = film.textContent === "Pause" ? "Play" : "Pause";
    const mode = event.target.closest?.("[data-mode]"), button = event.target.closest?.("[data-mc]");
    const box = group(event.target);
    if (mode) {
      for (const each of all("[data-mode]", box)) each.ariaPressed = String(each === mode);
      wipe(box);
    }
    if (!button) return;
    if (button.dataset.mc === "play") return run(box, !runs(box));
    run(box, false);
    seek(box, frameOf(box) + (button.dataset.mc === "on" ? 1 : -1));
  });
  document.addEventListener("input", (event) => {
    const box = group(event.target);
    if (event.target.closest(".mc-trim")) trimmed(event.target);
    if (!box) return;
    if (!event.target.classList.contains("mc-place")) return wipe(box);
    run(box, false);
    seek(box, Number(event.target.value));
  });

  // Parts arrive with every answer of the server; a card of the history that is made anew keeps the focus.
  let held = null;
  document.addEventListener("pointerdown", () => (held = null), true);
  document.addEventListener("focusin", (event) => {
    const card = event.target.closest?.("[data-star], [data-job]");
    held = card && (card.dataset.star ? `[data-star="${card.dataset.star}"]` : `[data-job="${card.dataset.job}"]`);
  });
  new MutationObserver(() => {
    if (held && document.activeElement === document.body) document.querySelector(held)?.focus({preventScroll: true});
    for (const box of all(".mc-together")) offer(box);
    for (const part of all(":is(.mc-edit, .mc-film, .mc-together):not([data-on])")) {
      part.dataset.on = "";
      if (part.matches(".mc-edit")) draw(part);
      if (part.matches(".mc-together")) wipe(part);
      if (part.matches(".mc-film")) trace();
      if (still && part.matches(".mc-film")) part.querySelector("[data-film=play]").textContent = "Play";
      if (still && part.matches(".mc-together")) run(part, false);
    }
  }).observe(document, {childList: true, subtree: true});
  const reveal = () => { // where the page is one column, what is being made is further down
    const made = document.querySelector("#mc-made");
    if (made.getBoundingClientRect().top > innerHeight * 0.7) made.scrollIntoView({behavior: still ? "auto" : "smooth"});
  };
  const save = (parcel) => {
    if (parcel) Object.assign(document.createElement("a"), {href: parcel.url, download: ""}).click();
  };
  step();
  window.motionclone = {picked, part: () => chosen, mark, keep, drawing: () => drawing, reveal, save};
})();
