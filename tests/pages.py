"""Pages in headless Chromium: opens them, waits, looks things up."""

import contextlib
import shutil

import pytest

CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"
PAPER = (680, 1009)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update"
    " --disable-sync --window-size=1280,900"
    # A click must not meet a page that is still scrolling.
    " --force-prefers-reduced-motion"
).split()


def start(profile, downloads=None):
  """A browser of its own; skips the test where there is none.

  Args:
    profile: an empty directory.
    downloads: where its downloads go, if a test looks at them.
  """
  webdriver = pytest.importorskip("selenium.webdriver")
  from selenium.webdriver.chrome.service import Service

  for path in (CHROMIUM, DRIVER):
    if not shutil.which(path):
      pytest.skip(f"{path} is not there (Debian: chromium, chromium-driver)")
  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in (*FLAGS, f"--user-data-dir={profile}"):
    options.add_argument(flag)
  if downloads is not None:
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads)}
    )
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  return webdriver.Chrome(options=options, service=Service(DRIVER))


@contextlib.contextmanager
def phone(browser, scheme):
  """The page as on a narrow screen, `light` or `dark`."""
  with _emulated(browser, 360, 800, scheme):
    yield


@contextlib.contextmanager
def paper(browser, scheme="light"):
  """The page as it is printed, pages beside each other as columns.

  Chromium breaks columns as it breaks pages, but can be asked about them. The
  size is that of A4 within the margins of style.css, 15 mm, at 96 dpi.
  """
  width, height = PAPER
  with _emulated(browser, width, height, scheme, media="print"):
    browser.execute_script(
        """
        window.dispatchEvent(new Event("beforeprint"));
        const style = document.createElement("style");
        style.id = "columns";
        document.head.append(style);
        style.sheet.insertRule(`body { width: ${arguments[0]}px !important;
          height: ${arguments[1]}px; columns: ${arguments[0]}px;
          column-gap: 0; column-fill: auto; margin: 0 !important; }`);
        """, width, height,
    )
    try:
      yield
    finally:
      browser.execute_script("""
        document.getElementById("columns").remove();
        window.dispatchEvent(new Event("afterprint"));
      """)


@contextlib.contextmanager
def _emulated(browser, width, height, scheme, media=""):
  size = {"width": width, "height": height, "deviceScaleFactor": 1}
  browser.execute_cdp_cmd(
      "Emulation.setDeviceMetricsOverride", {**size, "mobile": False}
  )
  feature = {"name": "prefers-color-scheme", "value": scheme}
  browser.execute_cdp_cmd(
      "Emulation.setEmulatedMedia", {"media": media, "features": [feature]}
  )
  try:
    yield
  finally:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"media": "", "features": []}
    )


def one(browser, selector):
  return browser.find_element("css selector", selector)


def all_of(browser, selector):
  return browser.find_elements("css selector", selector)


def settle(browser):
  """Waits until the rows that were asked for are unpacked and shown."""
  from selenium.webdriver.support.ui import WebDriverWait

  done = "table.answers:not([aria-busy])"
  WebDriverWait(browser, 20, poll_frequency=0.02).until(
      lambda b: all_of(b, done) and one(b, "#count").text
  )


def choose(browser, name, value):
  from selenium.webdriver.support.ui import Select

  Select(one(browser, f"#{name}")).select_by_value(value)
  settle(browser)


def search(browser, text):
  box = one(browser, "#search")
  box.clear()
  box.send_keys(text)
  settle(browser)


def ids(browser):
  """The questions shown, by the last part of their ids."""
  return [p.text.rpartition("/")[2] for p in all_of(browser, "#answers p.id")]


def values(browser, *names):
  """What the browser of answers is set to."""
  return [one(browser, f"#{name}").get_property("value") for name in names]
