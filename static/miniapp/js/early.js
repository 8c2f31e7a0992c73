/**
 * Before the first paint, a classic script: the theme and the language that Telegram or the customer chose, and which
 * of the page's parts will be needed. Telegram's own script and the modules come later and go on from here.
 */
(() => {
  "use strict";

  const root = document.documentElement;
  const PLACES = ["order", "guide", "plan", "esim", "area", "view"];

  /** Storage may be denied in a frame. */
  function remembered(storage, key) {
    try {
      return window[storage].getItem(key);
    } catch {
      return null;
    }
  }

  function parse(json) {
    try {
      return JSON.parse(json) ?? {};
    } catch {
      return {};
    }
  }

  /** What Telegram gave to this page or, after a reload, to the one before, where its script has kept it. */
  function launchParameters() {
    const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    return "tgWebAppVersion" in given ? given : parse(remembered("sessionStorage", "__telegram__initParams"));
  }

  /** As Telegram's script decides it. */
  function isDark(color) {
    const [red, green, blue] = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
    return Math.sqrt(0.299 * red ** 2 + 0.587 * green ** 2 + 0.114 * blue ** 2) < 120;
  }

  const launch = launchParameters();
  const theme = parse(launch.tgWebAppThemeParams);
  const initData = new URLSearchParams(launch.tgWebAppData ?? "");

  for (const [name, color] of Object.entries(theme)) {
    if (/^#[0-9a-f]{6}$/i.test(color)) root.style.setProperty(`--tg-theme-${name.replaceAll("_", "-")}`, color);
  }
  const dark = theme.bg_color ? isDark(theme.bg_color) : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "dark" : "light";

  // The same rule as on the server: Russian for ru, ru-RU …, English for everybody else.
  const tags = [parse(remembered("localStorage", "language")), parse(initData.get("user")).language_code, root.lang];
  const chosen = tags.find((tag) => typeof tag === "string" && tag);
  const language = chosen.toLowerCase().startsWith("ru") ? "ru" : "en";
  root.dataset.language = language;

  const address = new URLSearchParams(location.search);
  const isElsewhere = PLACES.some((name) => address.get(name)) || Boolean(initData.get("start_param"));
  root.classList.toggle("waiting", isElsewhere || language !== root.lang);
  for (const name of ["recents", "unfinished"]) {
    root.classList.toggle(`has-${name}`, Boolean(remembered("localStorage", name)));
  }
  if (language !== root.lang) {
    // Asked for as early as can be; texts.js takes it from here.
    window.translatedPage = fetch(location.pathname, {
      headers: { "Accept-Language": language },
      credentials: "omit",
    }).then((answer) => (answer.ok ? answer.text() : null), () => null);
  }

  // A tap before the modules are there: the page keeps what Telegram gave it, and they open the view that was meant.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="?"]');
    if (!link || "routed" in root.dataset || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    history.replaceState(null, "", link.getAttribute("href") + location.hash);
    root.classList.add("waiting");
  });
})();
