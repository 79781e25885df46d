"""A notebook in JupyterLab, as somebody with mouse and keyboard has it."""

from playwright.sync_api import Locator, Page, expect

_SCROLLS = 200


class NotebookPage:
    """An open notebook. JupyterLab draws only the cells in sight, so they are scrolled to."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        page.goto(f"{address}&reset")  # without what was open before
        self._cells = page.locator(".jp-Notebook .jp-Cell")
        self._cells.first.wait_for(timeout=60_000)
        expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)

    def cell(self, text: str) -> Locator:
        """The code cell with this text in it, scrolled to from above."""
        found = self.page.locator(".jp-Notebook .jp-CodeCell", has_text=text)
        self.page.locator(".jp-Notebook").hover()
        for _ in range(_SCROLLS):
            if found.count() and found.first.locator(".cm-content").is_visible():
                return found.first
            self.page.mouse.wheel(0, 300)
            self.page.wait_for_timeout(30)
        raise AssertionError(f"no cell with {text!r} came into sight")

    def write(self, cell: Locator, code: str) -> None:
        """Replace all that is in the cell."""
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)

    def run(self) -> None:
        """Run the cell in hand and go to the next."""
        self.page.keyboard.press("Shift+Enter")

    def menu(self, bar: str, item: str) -> None:
        """Choose from the menus at the top."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=bar).click()
        self.page.locator(".lm-Menu-itemLabel").get_by_text(item, exact=True).click()
