// Which Telegram this is, as a Mini App is told: its version and the device it runs on. Each window has its own.

const CHOICES = {
  version: ["9.1", "8.0", "6.9", "6.1", "6.0"],
  platform: ["weba", "ios", "android", "macos", "tdesktop"],
};

// The version in which a message of a Mini App was first understood. All others have been since the beginning, 6.0.
const SINCE = {
  web_app_setup_back_button: "6.1",
  web_app_set_header_color: "6.1",
  web_app_set_background_color: "6.1",
  web_app_trigger_haptic_feedback: "6.1",
  web_app_open_link: "6.1",
  web_app_open_tg_link: "6.1",
  web_app_open_invoice: "6.1",
  web_app_setup_closing_behavior: "6.2",
  web_app_open_popup: "6.2",
  web_app_request_write_access: "6.9",
  web_app_request_phone: "6.9",
  web_app_invoke_custom_method: "6.9",
  web_app_setup_settings_button: "6.10",
  web_app_setup_swipe_behavior: "7.7",
  web_app_set_bottom_bar_color: "7.10",
  web_app_setup_secondary_button: "7.10",
  web_app_request_safe_area: "8.0",
  web_app_request_content_safe_area: "8.0",
  web_app_request_fullscreen: "8.0",
  web_app_exit_fullscreen: "8.0",
};

export const choices = (name) => CHOICES[name];

export function chosen(name) {
  const remembered = sessionStorage.getItem(name);
  return CHOICES[name].includes(remembered) ? remembered : CHOICES[name][0];
}

export const choose = (name, value) => sessionStorage.setItem(name, value);

export function understands(eventType) {
  const [ours, since] = [chosen("version"), SINCE[eventType] ?? "6.0"].map((version) => version.split(".").map(Number));
  return ours[0] > since[0] || (ours[0] === since[0] && ours[1] >= since[1]);
}
