"""Pages in headless Chromium: opens them, waits, looks things up."""

import shutil

import pytest

CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update"
    " --disable-sync --window-size=1280,900"
    # A click must not meet a page that is still scrolling.
    " --force-prefers-reduced-motion"
).split()


def start(profile):
  """A browser of its own; skips the test where there is none."""
  webdriver = pytest.importorskip("selenium.webdriver")
  from selenium.webdriver.chrome.service import Service

  for path in (CHROMIUM, DRIVER):
    if not shutil.which(path):
      pytest.skip(f"{path} is not there (Debian: chromium, chromium-driver)")
  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in (*FLAGS, f"--user-data-dir={profile}"):
    options.add_argument(flag)
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  return webdriver.Chrome(options=options, service=Service(DRIVER))


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
