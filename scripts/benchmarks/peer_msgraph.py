"""Reads mailboxes through msgraph-sdk, in an environment of its own: prints JSON. Argument: the task's file."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from azure.identity import ClientSecretCredential
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph import GraphRequestAdapter, GraphServiceClient

from scripts.benchmarks.clocks import Watch, peak_mib

_AT_ONCE: Final = 4
_PAGE: Final = 999


def main(task_file: str) -> None:
    task = json.loads(Path(task_file).read_text())
    os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = task["ca_file"]
    client, watch = _client(task["online"]), Watch()
    contacts, photos = asyncio.run(_measure(client, task["people"], watch))
    print(
        json.dumps(
            {"contacts": contacts, "photos": photos, "cpu": watch.cpu, "wall": watch.wall, "peak_mib": peak_mib()}
        )
    )


def _client(place: dict[str, Any]) -> Any:
    host = place["authority"].removeprefix("https://")
    credential = ClientSecretCredential(
        place["directory_id"],
        place["client_id"],
        place["client_secret"],
        authority=host,
        disable_instance_discovery=True,
    )
    scopes, hosts = [f"{place['graph_url']}/.default"], [host.partition(":")[0], host]
    adapter = GraphRequestAdapter(AzureIdentityAuthenticationProvider(credential, scopes=scopes, allowed_hosts=hosts))
    adapter.base_url = f"{place['graph_url']}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


async def _measure(client: Any, people: list[dict[str, Any]], watch: Watch) -> tuple[int, int]:
    await _read(client.users.by_user_id(people[0]["id"]), people[0])  # loads what is loaded once
    with watch.running():
        return await _read_all(client, people)


async def _read_all(client: Any, people: list[dict[str, Any]]) -> tuple[int, int]:
    cards = {user.id async for user in _rows(client.users, most=len(people))}
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(person: dict[str, Any]) -> tuple[int, int]:
        async with turns:
            return await _read(client.users.by_user_id(person["id"]), person)

    found = await asyncio.gather(*(one(person) for person in people if person["id"] in cards))
    contacts, photos = map(sum, zip(*found, strict=True))
    return contacts, photos


async def _read(user: Any, person: dict[str, Any]) -> tuple[int, int]:
    """One person; the number of contacts, the card included, and of photos."""
    pictured, contacts, photos = set(person["pictured"]), 1, 0
    if person["photo"]:
        photos += bool(await user.photos.by_profile_photo_id("240x240").content.get())
    lists = [user.contacts]
    lists += [folder.contacts async for folder in _folders(user.contact_folders)]
    for entries in lists:
        async for contact in _rows(entries):
            contacts += 1
            if any(address.address in pictured for address in contact.email_addresses or ()):
                photos += bool(await entries.by_contact_id(contact.id).photo.content.get())
    return contacts, photos


async def _folders(entries: Any) -> AsyncIterator[Any]:
    async for folder in _rows(entries):
        builder = (
            entries.by_contact_folder_id(folder.id)
            if hasattr(entries, "by_contact_folder_id")
            else entries.by_contact_folder_id1(folder.id)
        )
        yield builder
        if hasattr(builder, "child_folders"):
            async for child in _folders(builder.child_folders):
                yield child


async def _rows(builder: Any, most: int = 0) -> AsyncIterator[Any]:
    """The entries of a list, page by page, until there are as many as wanted."""
    query = RequestConfiguration(query_parameters={"%24top": min(most or _PAGE, _PAGE)})
    number, page = 0, await builder.get(request_configuration=query)
    while True:
        for entry in page.value:
            yield entry
            number += 1
        if not page.odata_next_link or number == most:
            return
        page = await builder.with_url(page.odata_next_link).get()


if __name__ == "__main__":
    main(*sys.argv[1:])
