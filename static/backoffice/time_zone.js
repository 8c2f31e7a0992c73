// Tells the back office in which time zone to show times: the one chosen in the sidebar, or else the browser's own.
{
  const COOKIE = "time_zone"; // Read by esimshop/time_zones.py.
  const CHOICE = "backOfficeTimeZone";
  const SECONDS = 400 * 86400; // The longest that browsers keep a cookie.

  const browsers = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

  function tellServer() {
    const zone = localStorage.getItem(CHOICE) || browsers;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `${COOKIE}=${zone}; Path=/admin/; Max-Age=${SECONDS}; SameSite=Lax${secure}`;
  }

  function offerZones() {
    const select = document.getElementById("time-zone");
    if (!select) return;
    const zones = [...new Set([...Intl.supportedValuesOf("timeZone"), "UTC", select.dataset.zone])].sort();
    const own = new Option(`${browsers.replaceAll("_", " ")} (auto)`, "");
    select.replaceChildren(own, ...zones.map((zone) => new Option(zone.replaceAll("_", " "), zone)));
    // What this page was made for, also where the choice, or the place, is another by now.
    const isOwn = !localStorage.getItem(CHOICE) && select.dataset.zone === browsers;
    select.value = isOwn ? "" : select.dataset.zone;
    select.addEventListener("change", () => {
      localStorage.setItem(CHOICE, select.value);
      tellServer();
      // Asked for anew, never sent anew, as a reload would do with what a form has sent.
      location.replace(location.pathname + location.search);
    });
  }

  tellServer();
  document.addEventListener("DOMContentLoaded", offerZones);
}
