"""Draw docs/images/emulator.png, the picture of the emulator's page: ``python tests/page/draw_emulator_page.py``."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from playwright.async_api import expect

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from chromium import chromium
from raw_servers import answering, http, raw_server
from visitor import Visitor

from smspilot_async import Client
from smspilot_async.emulator import Clock, Emulator, Fault

PICTURE: Final = Path(__file__).parents[2] / "docs/images/emulator.png"
TEXTS: Final = (
    "Анна, напоминаем: завтра в 10:30 у вас приём у доктора Орловой. Чтобы отменить, ответьте СТОП.",
    "Ваш код 4821. Никому его не сообщайте.",
    "Заказ 20417 собран. Ждём вас до 21:00.",
    "Курьер будет у вас с 14 до 16. Телефон курьера пришлём за час.",
    "Ваш код 1730. Никому его не сообщайте.",
    "Оплата 2 490 ₽ прошла. Спасибо!",
    "Your code is 9045.",
    "Заказ 20418 собран. Ждём вас до 21:00.",
    "Ваш код 6612. Никому его не сообщайте.",
)


async def scene(emulator: Emulator, callback: str) -> None:
    """A busy morning: some delivered, one not, one on its way."""
    emulator.fail_delivery(code=602, to="79087964785")
    async with Client(emulator.api_key, url=emulator.url, sender="KLINIKA") as client:
        for number, text in enumerate(reversed(TEXTS)):
            await client.send(f"7908796478{number}", text, callback=callback)
            emulator.clock.advance(seconds=17)
    emulator.clock.speed = 1
    emulator.inbound("79087964786", "СТОП")
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await emulator.settled()


async def main() -> None:
    clock = Clock(datetime(2026, 11, 24, 9, 12, 5, tzinfo=UTC))
    async with (
        Emulator.serve(seed=1, clock=clock) as emulator,
        raw_server(answering(http(b"OK"))) as application,
        chromium() as browser,
    ):
        await scene(emulator, f"http://127.0.0.1:{application.port}/sms/status")
        visitor = await Visitor.opens(browser, emulator.page_url)
        await visitor.opens_message(TEXTS[0])
        await expect(visitor.detail.locator(".calls li")).to_have_count(1)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        await visitor.page.screenshot(path=PICTURE)


if __name__ == "__main__":
    asyncio.run(main())
