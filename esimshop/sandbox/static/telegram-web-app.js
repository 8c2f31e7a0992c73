// A small stand-in for Telegram's own script, for machines without internet: window.Telegram.WebApp as a Mini App
// knows it, over the same messages to the frame around it. Only inside the sandbox's client page.
(() => {
  "use strict";

  const REMEMBERED = "__telegram__initParams";
  const listeners = new Map();
  const root = document.documentElement;

  // Launch parameters: from the address, else from an earlier page of this tab.

  function readParameters() {
    const given = Object.fromEntries(new URLSearchParams(location.hash.replace(/^#/, "").replace(/^\?/, "")));
    if ("tgWebAppVersion" in given) {
      remember(given);
      return given;
    }
    try {
      return JSON.parse(sessionStorage.getItem(REMEMBERED)) ?? {};
    } catch {
      return {};
    }
  }

  function remember(parameters) {
    try {
      sessionStorage.setItem(REMEMBERED, JSON.stringify(parameters));
    } catch {
      // Storage may be forbidden in a frame; then a reload starts without parameters.
    }
  }

  function parse(value, otherwise) {
    try {
      return JSON.parse(value) ?? otherwise;
    } catch {
      return otherwise;
    }
  }

  const parameters = readParameters();
  const initData = parameters.tgWebAppData ?? "";
  const version = parameters.tgWebAppVersion ?? "6.0";
  const initDataUnsafe = {};
  for (const [name, value] of new URLSearchParams(initData)) {
    initDataUnsafe[name] = /^[[{]/.test(value) ? parse(value, value) : value;
  }

  const isVersionAtLeast = (wanted) => {
    const [ours, theirs] = [version, String(wanted)].map((text) => text.split(".").map(Number));
    for (let place = 0; place < Math.max(ours.length, theirs.length); place += 1) {
      const difference = (ours[place] ?? 0) - (theirs[place] ?? 0);
      if (difference) return difference > 0;
    }
    return true;
  };

  function need(wanted, name) {
    if (isVersionAtLeast(wanted)) return;
    console.error(`[Telegram.WebApp] ${name} is not supported in version ${version}`);
    throw Error("WebAppMethodUnsupported");
  }

  // Messages

  function post(eventType, eventData = "") {
    if (window.parent === window) return;
    window.parent.postMessage(JSON.stringify({ eventType, eventData }), "*");
  }

  function emit(name, data) {
    for (const listener of [...(listeners.get(name) ?? [])]) listener.call(webApp, data);
  }

  const reactions = {
    theme_changed: ({ theme_params }) => {
      setTheme(theme_params);
      remember({ ...parameters, tgWebAppThemeParams: JSON.stringify(theme_params) });
      emit("themeChanged");
    },
    viewport_changed: ({ height, is_expanded, is_state_stable }) => {
      viewport.height = height;
      viewport.isExpanded = Boolean(is_expanded);
      if (is_state_stable) viewport.stableHeight = height;
      setViewport();
      emit("viewportChanged", { isStateStable: Boolean(is_state_stable) });
    },
    safe_area_changed: (inset) => setInset("safeAreaInset", "safe-area", inset),
    content_safe_area_changed: (inset) => setInset("contentSafeAreaInset", "content-safe-area", inset),
    main_button_pressed: () => webApp.MainButton.isActive && emit("mainButtonClicked"),
    secondary_button_pressed: () => webApp.SecondaryButton.isActive && emit("secondaryButtonClicked"),
    back_button_pressed: () => webApp.BackButton.isVisible && emit("backButtonClicked"),
    settings_button_pressed: () => webApp.SettingsButton.isVisible && emit("settingsButtonClicked"),
    invoice_closed: ({ slug, status }) => {
      const invoice = invoices.get(slug);
      if (!invoice) return;
      invoices.delete(slug);
      invoice.callback?.(status);
      emit("invoiceClosed", { url: invoice.url, status });
    },
    popup_closed: ({ button_id: id }) => {
      const callback = openPopup;
      openPopup = null;
      callback?.(id ?? null);
      emit("popupClosed", { button_id: id ?? null });
    },
    write_access_requested: ({ status }) => {
      answer("write", status === "allowed");
      emit("writeAccessRequested", { status });
    },
    phone_requested: ({ status }) => {
      answer("phone", status === "sent");
      emit("contactRequested", { status });
    },
    custom_method_invoked: ({ req_id: id, result, error }) => {
      const callback = customCalls.get(id);
      customCalls.delete(id);
      callback?.(error ?? null, result);
    },
    visibility_changed: ({ is_visible }) => {
      webApp.isActive = Boolean(is_visible);
      emit(is_visible ? "activated" : "deactivated");
    },
    fullscreen_changed: ({ is_fullscreen }) => {
      webApp.isFullscreen = Boolean(is_fullscreen);
      emit("fullscreenChanged");
    },
    reload_iframe: () => location.reload(),
  };

  window.addEventListener("message", ({ source, data }) => {
    if (source !== window.parent || typeof data !== "string") return;
    const message = parse(data, null);
    if (message && Object.hasOwn(reactions, message.eventType)) reactions[message.eventType](message.eventData ?? {});
  });

  // Looks

  let themeParams = {};
  let colorScheme = "light";
  const viewport = { height: window.innerHeight, stableHeight: window.innerHeight, isExpanded: true };
  const insets = { safeAreaInset: noInset(), contentSafeAreaInset: noInset() };

  function noInset() {
    return { top: 0, bottom: 0, left: 0, right: 0 };
  }

  function isDark(color) {
    const [red, green, blue] = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
    return Math.sqrt(0.299 * red ** 2 + 0.587 * green ** 2 + 0.114 * blue ** 2) < 120;
  }

  function setTheme(given) {
    themeParams = {};
    for (const [name, color] of Object.entries(given ?? {})) {
      if (!/^#[0-9a-f]{6}$/i.test(color)) continue;
      themeParams[name] = color;
      root.style.setProperty(`--tg-theme-${name.replaceAll("_", "-")}`, color);
    }
    if (themeParams.bg_color) colorScheme = isDark(themeParams.bg_color) ? "dark" : "light";
    root.style.setProperty("--tg-color-scheme", colorScheme);
  }

  function setViewport() {
    root.style.setProperty("--tg-viewport-height", `${viewport.height}px`);
    root.style.setProperty("--tg-viewport-stable-height", `${viewport.stableHeight}px`);
  }

  function setInset(property, name, inset) {
    insets[property] = { ...noInset(), ...inset };
    for (const [side, size] of Object.entries(insets[property])) root.style.setProperty(`--tg-${name}-inset-${side}`, `${size}px`);
    emit(`${property.replace("Inset", "")}Changed`);
  }

  function colorSetter(eventType, since) {
    return (color) => {
      need(since, eventType);
      const isKey = color === "bg_color" || color === "secondary_bg_color" || color === "bottom_bar_bg_color";
      post(eventType, isKey && eventType === "web_app_set_header_color" ? { color_key: color } : { color: isKey ? themeParams[color] : color });
    };
  }

  // Buttons

  function bottomButton(eventType, clicked, otherwise) {
    let state = { is_visible: false, is_active: true, is_progress_visible: false, text: otherwise, has_shine_effect: false };
    let sent = "";
    const update = (changes) => {
      state = { ...state, ...changes };
      const data = state.is_visible
        ? { ...state, color: state.color ?? themeParams.button_color ?? "#2481cc", text_color: state.text_color ?? themeParams.button_text_color ?? "#ffffff" }
        : { is_visible: false };
      const message = JSON.stringify(data);
      if (message !== sent) post(eventType, data);
      sent = message;
      return button;
    };
    const button = {
      get text() { return state.text; },
      set text(text) { button.setText(text); },
      get color() { return state.color ?? themeParams.button_color; },
      set color(color) { update({ color: color || undefined }); },
      get textColor() { return state.text_color ?? themeParams.button_text_color; },
      set textColor(color) { update({ text_color: color || undefined }); },
      get isVisible() { return state.is_visible; },
      set isVisible(value) { update({ is_visible: Boolean(value) }); },
      get isActive() { return state.is_active; },
      set isActive(value) { update({ is_active: Boolean(value) }); },
      get isProgressVisible() { return state.is_progress_visible; },
      get hasShineEffect() { return state.has_shine_effect; },
      set hasShineEffect(value) { update({ has_shine_effect: Boolean(value) }); },
      setText(text) { return button.setParams({ text }); },
      onClick(callback) { webApp.onEvent(clicked, callback); return button; },
      offClick(callback) { webApp.offEvent(clicked, callback); return button; },
      show() { return update({ is_visible: true }); },
      hide() { return update({ is_visible: false }); },
      enable() { return update({ is_active: true }); },
      disable() { return update({ is_active: false }); },
      showProgress(leaveActive) { return update({ is_progress_visible: true, is_active: Boolean(leaveActive) }); },
      hideProgress() { return update({ is_progress_visible: false, is_active: true }); },
      setParams(given) {
        const changes = {};
        if ("text" in given) {
          const text = String(given.text).trim();
          if (!text || text.length > 64) throw Error("WebAppBottomButtonParamInvalid");
          changes.text = text;
        }
        if ("color" in given) changes.color = given.color || undefined;
        if ("text_color" in given) changes.text_color = given.text_color || undefined;
        if ("is_visible" in given) changes.is_visible = Boolean(given.is_visible);
        if ("is_active" in given) changes.is_active = Boolean(given.is_active);
        if ("has_shine_effect" in given) changes.has_shine_effect = Boolean(given.has_shine_effect);
        if ("position" in given) changes.position = given.position;
        return update(changes);
      },
    };
    return button;
  }

  function cornerButton(eventType, clicked, since) {
    let isVisible = false;
    const setVisible = (value) => {
      if (!isVersionAtLeast(since)) return button;
      if (isVisible !== value) post(eventType, { is_visible: value });
      isVisible = value;
      return button;
    };
    const button = {
      get isVisible() { return isVisible; },
      set isVisible(value) { setVisible(Boolean(value)); },
      onClick(callback) { webApp.onEvent(clicked, callback); return button; },
      offClick(callback) { webApp.offEvent(clicked, callback); return button; },
      show() { return setVisible(true); },
      hide() { return setVisible(false); },
    };
    return button;
  }

  // Questions to the client

  const invoices = new Map();
  const customCalls = new Map();
  const questions = { write: [], phone: [] };
  let openPopup = null;
  let lastCall = 0;

  function answer(name, isAllowed) {
    for (const callback of questions[name].splice(0)) callback?.(isAllowed);
  }

  function ask(name, eventType) {
    return (callback) => {
      need("6.9", eventType);
      questions[name].push(callback);
      post(eventType);
    };
  }

  function invokeCustomMethod(method, params, callback) {
    need("6.9", method);
    lastCall += 1;
    customCalls.set(String(lastCall), callback);
    post("web_app_invoke_custom_method", { req_id: String(lastCall), method, params });
  }

  const cloudStorage = {
    setItem(key, value, callback) {
      invokeCustomMethod("saveStorageValue", { key, value }, callback);
      return cloudStorage;
    },
    getItem(key, callback) {
      return cloudStorage.getItems([key], (error, values) => callback?.(error, values?.[key]));
    },
    getItems(keys, callback) {
      invokeCustomMethod("getStorageValues", { keys }, callback);
      return cloudStorage;
    },
    removeItem(key, callback) {
      return cloudStorage.removeItems([key], callback);
    },
    removeItems(keys, callback) {
      invokeCustomMethod("deleteStorageValues", { keys }, callback);
      return cloudStorage;
    },
    getKeys(callback) {
      invokeCustomMethod("getStorageKeys", {}, callback);
      return cloudStorage;
    },
  };

  const haptic = {
    impactOccurred(style) {
      post("web_app_trigger_haptic_feedback", { type: "impact", impact_style: style });
      return haptic;
    },
    notificationOccurred(type) {
      post("web_app_trigger_haptic_feedback", { type: "notification", notification_type: type });
      return haptic;
    },
    selectionChanged() {
      post("web_app_trigger_haptic_feedback", { type: "selection_change" });
      return haptic;
    },
  };

  function readInvoiceSlug(address) {
    const link = document.createElement("a");
    link.href = address;
    const found = /^\/(?:\$|invoice\/)([A-Za-z0-9_=-]+)$/.exec(link.pathname);
    if (!/^https?:$/.test(link.protocol) || link.hostname !== "t.me" || !found) throw Error("WebAppInvoiceUrlInvalid");
    return found[1];
  }

  const POPUP_TYPES = new Set(["default", "ok", "close", "cancel", "destructive"]);

  function checkPopup({ title = "", message = "", buttons = [{ type: "close" }] }) {
    const words = { title: String(title).trim(), message: String(message).trim() };
    if (words.title.length > 64 || !words.message || words.message.length > 256) throw Error("WebAppPopupParamInvalid");
    if (buttons.length < 1 || buttons.length > 3) throw Error("WebAppPopupParamInvalid");
    const checked = buttons.map(({ id = "", type = "default", text = "" }) => {
      const needsText = type === "default" || type === "destructive";
      if (!POPUP_TYPES.has(type) || String(id).length > 64 || String(text).length > 64) throw Error("WebAppPopupParamInvalid");
      if (needsText && !String(text).trim()) throw Error("WebAppPopupParamInvalid");
      return needsText ? { id: String(id), type, text: String(text).trim() } : { id: String(id), type };
    });
    return { ...words, buttons: checked };
  }

  const behaviour = { asksBeforeClosing: false, allowsSwipes: true };

  function setClosingConfirmation(value) {
    if (!isVersionAtLeast("6.2")) return;
    behaviour.asksBeforeClosing = value;
    post("web_app_setup_closing_behavior", { need_confirmation: value });
  }

  function setSwipes(value) {
    if (!isVersionAtLeast("7.7")) return;
    behaviour.allowsSwipes = value;
    post("web_app_setup_swipe_behavior", { allow_vertical_swipe: value });
  }

  const webApp = {
    initData,
    initDataUnsafe,
    version,
    platform: parameters.tgWebAppPlatform ?? "unknown",
    isActive: true,
    isFullscreen: false,
    isVersionAtLeast,
    get colorScheme() { return colorScheme; },
    get themeParams() { return themeParams; },
    get isExpanded() { return viewport.isExpanded; },
    get viewportHeight() { return viewport.height; },
    get viewportStableHeight() { return viewport.stableHeight; },
    get safeAreaInset() { return insets.safeAreaInset; },
    get contentSafeAreaInset() { return insets.contentSafeAreaInset; },
    get isClosingConfirmationEnabled() { return behaviour.asksBeforeClosing; },
    set isClosingConfirmationEnabled(value) { setClosingConfirmation(Boolean(value)); },
    get isVerticalSwipesEnabled() { return behaviour.allowsSwipes; },
    onEvent(name, callback) {
      if (!listeners.has(name)) listeners.set(name, new Set());
      listeners.get(name).add(callback);
    },
    offEvent(name, callback) {
      listeners.get(name)?.delete(callback);
    },
    ready: () => post("web_app_ready"),
    expand: () => post("web_app_expand"),
    close: (options = {}) => post("web_app_close", options.return_back ? { return_back: true } : {}),
    requestFullscreen: () => post("web_app_request_fullscreen"),
    exitFullscreen: () => post("web_app_exit_fullscreen"),
    setHeaderColor: colorSetter("web_app_set_header_color", "6.1"),
    setBackgroundColor: colorSetter("web_app_set_background_color", "6.1"),
    setBottomBarColor: colorSetter("web_app_set_bottom_bar_color", "7.10"),
    enableClosingConfirmation: () => setClosingConfirmation(true),
    disableClosingConfirmation: () => setClosingConfirmation(false),
    enableVerticalSwipes: () => setSwipes(true),
    disableVerticalSwipes: () => setSwipes(false),
    openLink(address, options = {}) {
      const link = document.createElement("a");
      link.href = address;
      if (!/^https?:$/.test(link.protocol)) throw Error("WebAppTgUrlInvalid");
      post("web_app_open_link", { url: link.href, ...(options.try_instant_view ? { try_instant_view: true } : {}) });
    },
    openTelegramLink(address) {
      const link = document.createElement("a");
      link.href = address;
      if (!/^https?:$/.test(link.protocol) || link.hostname !== "t.me") throw Error("WebAppTgUrlInvalid");
      post("web_app_open_tg_link", { path_full: link.pathname + link.search });
    },
    openInvoice(address, callback) {
      const slug = readInvoiceSlug(address);
      need("6.1", "openInvoice");
      if (invoices.has(slug)) throw Error("WebAppInvoiceOpened");
      invoices.set(slug, { url: address, callback });
      post("web_app_open_invoice", { slug });
    },
    showPopup(given, callback) {
      need("6.2", "showPopup");
      if (openPopup) throw Error("WebAppPopupOpened");
      const popup = checkPopup(given);
      openPopup = callback ?? (() => {});
      post("web_app_open_popup", popup);
    },
    showAlert: (message, callback) => webApp.showPopup({ message }, () => callback?.()),
    showConfirm: (message, callback) =>
      webApp.showPopup({ message, buttons: [{ type: "ok", id: "ok" }, { type: "cancel" }] }, (id) => callback?.(id === "ok")),
    requestWriteAccess: ask("write", "web_app_request_write_access"),
    requestContact: ask("phone", "web_app_request_phone"),
    MainButton: null,
    SecondaryButton: null,
    BackButton: cornerButton("web_app_setup_back_button", "backButtonClicked", "6.1"),
    SettingsButton: cornerButton("web_app_setup_settings_button", "settingsButtonClicked", "6.10"),
    HapticFeedback: haptic,
    CloudStorage: cloudStorage,
  };
  webApp.MainButton = bottomButton("web_app_setup_main_button", "mainButtonClicked", "Continue");
  webApp.SecondaryButton = bottomButton("web_app_setup_secondary_button", "secondaryButtonClicked", "Cancel");

  window.Telegram = { ...window.Telegram, WebApp: webApp };
  setTheme(parse(parameters.tgWebAppThemeParams, {}));
  setViewport();
  for (const name of ["safe-area", "content-safe-area"]) {
    for (const side of ["top", "bottom", "left", "right"]) root.style.setProperty(`--tg-${name}-inset-${side}`, "0px");
  }
  post("iframe_ready", { reload_supported: true });
  for (const name of ["theme", "viewport", "safe_area", "content_safe_area"]) post(`web_app_request_${name}`);
})();
