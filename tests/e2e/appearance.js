// What a page can tell about its own looks, for the walk of test_every_view.py: lists of complaints.
window.appearance = (() => {
  const CONTROLS = "button, .btn, .pill, .chip, .tile, .row, .plan";

  function nameOf(element) {
    const looks = typeof element.className === "string" ? element.className.trim().split(/\s+/).filter(Boolean) : [];
    const words = (element.innerText ?? "").trim().replace(/\s+/g, " ").slice(0, 60);
    return `${[element.tagName.toLowerCase(), ...looks].join(".")} “${words}”`;
  }

  function parentsOf(element) {
    const parents = [];
    for (let each = element; each && each !== document.body; each = each.parentElement) parents.push(each);
    return parents;
  }

  /** Text nodes that somebody sees: [{ text, element, parents }]. */
  function seenTexts() {
    const seen = [];
    const texts = document.createTreeWalker(document.getElementById("stage"), NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const text = texts.currentNode;
      const element = text.parentElement;
      if (!text.data.trim() || element.closest("[aria-hidden=true], svg")) continue;
      if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
      const parents = parentsOf(element);
      // Words for screen readers alone lie in a box of one pixel.
      if (parents.some((each) => each.offsetWidth <= 1 && each.offsetHeight <= 1)) continue;
      seen.push({ text, element, parents });
    }
    return seen;
  }

  const boxesOf = (text, start = 0, end = text.length) => {
    const range = document.createRange();
    range.setStart(text, start);
    range.setEnd(text, end);
    return [...range.getClientRects()];
  };

  /** Text that leaves the window or its button, or that an edge cuts off. */
  function stray({ text, element, parents }) {
    const boxes = boxesOf(text);
    if (boxes.length === 0) return [];
    const left = Math.min(...boxes.map((box) => box.left));
    const right = Math.max(...boxes.map((box) => box.right));
    // A line is higher than its letters: a third of it may go.
    const top = Math.min(...boxes.map((box) => box.top + box.height / 3));
    const bottom = Math.max(...boxes.map((box) => box.bottom - box.height / 3));
    const complaints = [];
    const scrolls = parents.some((each) => /auto|scroll/.test(getComputedStyle(each).overflowX));
    if (!scrolls && (left < -1 || right > innerWidth + 1)) complaints.push(`leaves the window: ${nameOf(element)}`);
    for (const each of parents) {
      const { display, overflowX, overflowY } = getComputedStyle(each);
      if (display === "inline") continue;
      const edge = each.getBoundingClientRect();
      const isControl = each.matches(CONTROLS);
      const isOut = left < edge.left - 1 || right > edge.right + 1;
      if (isOut && (isControl || /hidden|clip/.test(overflowX))) complaints.push(`leaves ${nameOf(each)}: ${nameOf(element)}`);
      if (/hidden|clip/.test(overflowY) && (top < edge.top || bottom > edge.bottom)) {
        complaints.push(`is cut by ${nameOf(each)}: ${nameOf(element)}`);
      }
      if (isControl) break;
    }
    return complaints;
  }

  function broken({ text, element }) {
    // Where the language's hyphens are at home, a word is parted by them; this browser has no dictionary.
    if (element.closest("code, .code") || getComputedStyle(element).hyphens === "auto") return [];
    return [...text.data.matchAll(/[\p{L}\d]{3,}/gu)]
      .filter(({ 0: word, index }) => {
        const lines = boxesOf(text, index, index + word.length).map((box) => Math.round(box.top));
        return new Set(lines).size > 1;
      })
      .map(([word]) => `breaks the word ${word}: ${nameOf(element)}`);
  }

  return {
    layout({ wholeWords }) {
      const wide = document.documentElement.scrollWidth;
      const complaints = wide > innerWidth ? [`the page is ${wide} wide`] : [];
      for (const seen of seenTexts()) complaints.push(...stray(seen), ...(wholeWords ? broken(seen) : []));
      return [...new Set(complaints)];
    },

    /** Controls too small for a thumb; links inside a sentence are as high as its lines. */
    targets() {
      return [...document.querySelectorAll("#stage :is(button, a, summary, [role=switch])")]
        .filter((each) => each.checkVisibility() && getComputedStyle(each).display !== "inline")
        .map((each) => ({ each, box: each.getBoundingClientRect() }))
        .filter(({ box }) => Math.min(box.width, box.height) < 43.5)
        .map(({ each, box }) => `a target of ${Math.round(box.width)}×${Math.round(box.height)}: ${nameOf(each)}`);
    },

    headings() {
      const seen = [...document.querySelectorAll("h1")].filter((each) => each.checkVisibility());
      return seen.length === 1 ? [] : [`${seen.length} first headings`];
    },

    motion() {
      return document
        .getAnimations()
        .filter((each) => each.playState === "running" && each.effect.getComputedTiming().duration > 0)
        .map((each) => `moves in spite of reduced motion: ${nameOf(each.effect.target)}`);
    },

    /** What axe finds, by all its rules or by some. */
    async accessibility({ rules = [] }) {
      const chosen = rules.length
        ? { runOnly: { type: "rule", values: rules } }
        : { rules: { "target-size": { enabled: true } } };
      const { violations } = await axe.run({ ...chosen, resultTypes: ["violations"] });
      return violations.flatMap(({ id, nodes }) =>
        nodes.map(({ target, failureSummary }) => {
          const why = failureSummary.split("\n").slice(1).join(";").trim();
          return `axe ${id}: ${target.join(" ")}: ${why}`;
        }),
      );
    },
  };
})();
