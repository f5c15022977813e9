"""The steps of a login that a test goes one by one."""


async def begin(browser, path="/auth/login"):
    """Begin a login; the address of the provider."""
    response = await browser.visit(path, follow=False)
    assert response.status_code == 303
    return response.headers["location"]


async def answer(browser, address):
    """Let the provider answer; the address of the callback."""
    response = await browser.visit(address, follow=False)
    return response.headers["location"]
