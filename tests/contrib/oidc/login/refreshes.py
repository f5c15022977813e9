"""Count refreshes, and ask who is logged in."""

from starlette.responses import JSONResponse, PlainTextResponse, Response

EXACT = {"refresh_jitter": 0}


def count_refreshes(provider):
    return sum(request["grant_type"] == "refresh_token" for request in provider.token_requests)


async def who(browser):
    return await browser.visit("/", follow=False)


def break_connection():
    raise ConnectionResetError("the provider has gone")


OUTAGES = {
    "500": lambda: PlainTextResponse("oops", 500),
    "502 with a page": lambda: Response("<html>Bad gateway</html>", 502, media_type="text/html"),
    "503 with an OAuth error": lambda: JSONResponse({"error": "invalid_grant"}, 503),
    "429": lambda: JSONResponse({"error": "invalid_grant"}, 429),
    "200 with a page": lambda: Response("<html>Login</html>", 200, media_type="text/html"),
    "200 with no object": lambda: JSONResponse([]),
    "200 without a token": lambda: JSONResponse({"token_type": "Bearer"}),
    "200 of another type": lambda: JSONResponse({"access_token": "x", "token_type": "mac"}),
    "200 with a number for a token": lambda: JSONResponse({"access_token": 7, "token_type": "Bearer"}),
    "302": lambda: Response(status_code=302, headers={"location": "https://op.example/other"}),
    "400 with a page": lambda: PlainTextResponse("invalid_grant", 400),
    "400 with a number": lambda: JSONResponse({"error": 7}, 400),
    "404": lambda: PlainTextResponse("not found", 404),
    "reset": break_connection,
}
