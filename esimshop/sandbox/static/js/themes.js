// Telegram's theme parameters, as its clients hand them to a Mini App.

const light = {
  bg_color: "#ffffff", secondary_bg_color: "#f0f1f5", text_color: "#10141a", hint_color: "#8a929c", link_color: "#2481cc",
  button_color: "#2481cc", button_text_color: "#ffffff", header_bg_color: "#ffffff", accent_text_color: "#2481cc",
  section_bg_color: "#ffffff", section_header_text_color: "#5b6470", section_separator_color: "#e2e5ea",
  subtitle_text_color: "#5b6470", destructive_text_color: "#d9342b", bottom_bar_bg_color: "#ffffff",
};
const dark = {
  bg_color: "#1d2733", secondary_bg_color: "#131b24", text_color: "#f4f6f8", hint_color: "#7d8b99", link_color: "#6ab3f3",
  button_color: "#5288c1", button_text_color: "#ffffff", header_bg_color: "#1d2733", accent_text_color: "#6ab3f3",
  section_bg_color: "#1d2733", section_header_text_color: "#a3b0bd", section_separator_color: "#2b3744",
  subtitle_text_color: "#a3b0bd", destructive_text_color: "#ff7a70", bottom_bar_bg_color: "#1d2733",
};

export const themes = { light, dark };

export const currentTheme = () => themes[document.documentElement.dataset.theme];
