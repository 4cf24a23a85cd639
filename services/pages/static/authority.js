// The page is whole without this: it only replaces parts of it as the server tells of them.
const pulse = document.getElementById("pulse");
const events = new EventSource(pulse.dataset.events);

const say = (words, beats) => {
  pulse.textContent = words;
  pulse.classList.toggle("beats", beats);
};

// What is scrolled or has the keyboard stays so.
const replace = (id, html) => {
  const part = document.getElementById(id);
  const label = part.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  const scrolled = new Map([...part.querySelectorAll(".scroll")].map((at) => [at.ariaLabel, [at.scrollLeft, at.scrollTop]]));
  part.innerHTML = html;
  for (const at of part.querySelectorAll(".scroll")) {
    const [left, top] = scrolled.get(at.ariaLabel) ?? [0, 0];
    at.scrollTo(left, top);
    if (at.ariaLabel === label) at.focus({ preventScroll: true });
  }
};

for (const id of ["live", "inventory"]) {
  events.addEventListener(id, (event) => {
    replace(id, event.data);
    say("Live: this page shows what happens.", true);
  });
}
events.addEventListener("error", () => {
  const gone = events.readyState === EventSource.CLOSED;
  say(gone ? "Not live any more. Reload to see what is new." : "Not live: connecting again.", false);
});
