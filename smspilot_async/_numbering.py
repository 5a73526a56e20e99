"""Numbering plan: a number's country and, in Russia, whether it is a mobile or a fixed line, by its first digits.

The table has the ITU's calling codes, and Russia's area codes as of 2025. Codes that several countries share are
assigned to the one with most numbers, or to none (+1). Networks without a country (satellites, +800) are not included,
nor are the mobile ranges of other countries. Ported numbers keep their digits, so there are no operators; all of +7
that is not Kazakh counts as Russian (Abkhazia's +7 840 and +7 940).
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal, TypeAlias

import attrs

Country: TypeAlias = Literal["RU"]
"""The countries whose domestic notation of phones is supported."""

_RUSSIAN_LENGTH: Final = 11  # with the country code
_LONGEST_CODE: Final = 3

_AREA_CODES: Final = frozenset(
    """
    301 302 341 342 343 345 346 347 349 351 352 353 365 381 382 383 384 385 388 390 391 394 395
    401 411 413 415 416 421 423 424 426 427 471 472 473 474 475 481 482 483 484 485 486 487 491 492 493 494 495 496
    498 499 800 801 802 803 804 805 806 807 808 809 811 812 813 814 815 816 817 818 820 821 831 833 834 835 836 841
    842 843 844 845 846 847 848 851 855 856 857 861 862 863 865 866 867 869 871 872 873 877 878 879
    """.split()  # noqa: SIM905 - a table
)

_COUNTRIES: Final = {
    "20": "EG Egypt", "211": "SS South Sudan", "212": "MA Morocco", "213": "DZ Algeria", "216": "TN Tunisia",
    "218": "LY Libya", "220": "GM Gambia", "221": "SN Senegal", "222": "MR Mauritania", "223": "ML Mali",
    "224": "GN Guinea", "225": "CI Côte d'Ivoire", "226": "BF Burkina Faso", "227": "NE Niger", "228": "TG Togo",
    "229": "BJ Benin", "230": "MU Mauritius", "231": "LR Liberia", "232": "SL Sierra Leone", "233": "GH Ghana",
    "234": "NG Nigeria", "235": "TD Chad", "236": "CF Central African Republic", "237": "CM Cameroon",
    "238": "CV Cabo Verde", "239": "ST São Tomé and Príncipe", "240": "GQ Equatorial Guinea", "241": "GA Gabon",
    "242": "CG Congo", "243": "CD DR Congo", "244": "AO Angola", "245": "GW Guinea-Bissau", "248": "SC Seychelles",
    "249": "SD Sudan", "250": "RW Rwanda", "251": "ET Ethiopia", "252": "SO Somalia", "253": "DJ Djibouti",
    "254": "KE Kenya", "255": "TZ Tanzania", "256": "UG Uganda", "257": "BI Burundi", "258": "MZ Mozambique",
    "260": "ZM Zambia", "261": "MG Madagascar", "262": "RE Réunion", "263": "ZW Zimbabwe", "264": "NA Namibia",
    "265": "MW Malawi", "266": "LS Lesotho", "267": "BW Botswana", "268": "SZ Eswatini", "269": "KM Comoros",
    "27": "ZA South Africa", "290": "SH Saint Helena", "291": "ER Eritrea", "297": "AW Aruba",
    "298": "FO Faroe Islands", "299": "GL Greenland", "30": "GR Greece", "31": "NL Netherlands", "32": "BE Belgium",
    "33": "FR France", "34": "ES Spain", "350": "GI Gibraltar", "351": "PT Portugal", "352": "LU Luxembourg",
    "353": "IE Ireland", "354": "IS Iceland", "355": "AL Albania", "356": "MT Malta", "357": "CY Cyprus",
    "358": "FI Finland", "359": "BG Bulgaria", "36": "HU Hungary", "370": "LT Lithuania", "371": "LV Latvia",
    "372": "EE Estonia", "373": "MD Moldova", "374": "AM Armenia", "375": "BY Belarus", "376": "AD Andorra",
    "377": "MC Monaco", "378": "SM San Marino", "380": "UA Ukraine", "381": "RS Serbia", "382": "ME Montenegro",
    "383": "XK Kosovo", "385": "HR Croatia", "386": "SI Slovenia", "387": "BA Bosnia and Herzegovina",
    "389": "MK North Macedonia", "39": "IT Italy", "40": "RO Romania", "41": "CH Switzerland", "420": "CZ Czechia",
    "421": "SK Slovakia", "423": "LI Liechtenstein", "43": "AT Austria", "44": "GB United Kingdom", "45": "DK Denmark",
    "46": "SE Sweden", "47": "NO Norway", "48": "PL Poland", "49": "DE Germany", "500": "FK Falkland Islands",
    "501": "BZ Belize", "502": "GT Guatemala", "503": "SV El Salvador", "504": "HN Honduras", "505": "NI Nicaragua",
    "506": "CR Costa Rica", "507": "PA Panama", "508": "PM Saint Pierre and Miquelon", "509": "HT Haiti",
    "51": "PE Peru", "52": "MX Mexico", "53": "CU Cuba", "54": "AR Argentina", "55": "BR Brazil", "56": "CL Chile",
    "57": "CO Colombia", "58": "VE Venezuela", "590": "GP Guadeloupe", "591": "BO Bolivia", "592": "GY Guyana",
    "593": "EC Ecuador", "594": "GF French Guiana", "595": "PY Paraguay", "596": "MQ Martinique",
    "597": "SR Suriname", "598": "UY Uruguay", "599": "CW Curaçao", "60": "MY Malaysia", "61": "AU Australia",
    "62": "ID Indonesia", "63": "PH Philippines", "64": "NZ New Zealand", "65": "SG Singapore", "66": "TH Thailand",
    "670": "TL Timor-Leste", "673": "BN Brunei", "674": "NR Nauru", "675": "PG Papua New Guinea", "676": "TO Tonga",
    "677": "SB Solomon Islands", "678": "VU Vanuatu", "679": "FJ Fiji", "680": "PW Palau",
    "681": "WF Wallis and Futuna", "682": "CK Cook Islands", "683": "NU Niue", "685": "WS Samoa", "686": "KI Kiribati",
    "687": "NC New Caledonia", "688": "TV Tuvalu", "689": "PF French Polynesia", "690": "TK Tokelau",
    "691": "FM Micronesia", "692": "MH Marshall Islands", "7": "RU Russia", "76": "KZ Kazakhstan",
    "77": "KZ Kazakhstan", "81": "JP Japan", "82": "KR South Korea", "84": "VN Vietnam", "850": "KP North Korea",
    "852": "HK Hong Kong", "853": "MO Macao", "855": "KH Cambodia", "856": "LA Laos", "86": "CN China",
    "880": "BD Bangladesh", "886": "TW Taiwan", "90": "TR Turkey", "91": "IN India", "92": "PK Pakistan",
    "93": "AF Afghanistan", "94": "LK Sri Lanka", "95": "MM Myanmar", "960": "MV Maldives", "961": "LB Lebanon",
    "962": "JO Jordan", "963": "SY Syria", "964": "IQ Iraq", "965": "KW Kuwait", "966": "SA Saudi Arabia",
    "967": "YE Yemen", "968": "OM Oman", "970": "PS Palestine", "971": "AE United Arab Emirates", "972": "IL Israel",
    "973": "BH Bahrain", "974": "QA Qatar", "975": "BT Bhutan", "976": "MN Mongolia", "977": "NP Nepal",
    "98": "IR Iran", "992": "TJ Tajikistan", "993": "TM Turkmenistan", "994": "AZ Azerbaijan", "995": "GE Georgia",
    "996": "KG Kyrgyzstan", "998": "UZ Uzbekistan",
}  # fmt: skip


@attrs.frozen
class PhoneKind:
    """A number's country and kind of line, by its first digits; it does not show whether the number is in use.

    Attributes:
        country: ISO 3166 code; ``None`` if the calling code is unknown, or shared by several countries (+1).
        name: The country's name in English, for display.
        line: ``"mobile"`` or ``"landline"`` (including ``8 800`` and the like) for a Russian number; ``None`` if not
            known, and for all other countries.
    """

    country: str | None
    name: str
    line: Literal["mobile", "landline"] | None = None


_RUSSIAN_MOBILE: Final = PhoneKind("RU", "Russia", "mobile")


def kind_of(digits: str) -> PhoneKind:
    """Return the kind of a normalised number."""
    if digits.startswith("79"):  # as almost all are
        return _RUSSIAN_MOBILE
    return _kind_by_prefix(digits[: 1 + _LONGEST_CODE])


@cache
def _kind_by_prefix(digits: str) -> PhoneKind:
    if digits.startswith("1"):
        return PhoneKind(None, "North America (+1)")
    for length in range(_LONGEST_CODE, 0, -1):
        if found := _COUNTRIES.get(digits[:length]):
            country, _, name = found.partition(" ")
            return PhoneKind(country, name, "landline" if country == "RU" and digits[1:] in _AREA_CODES else None)
    return PhoneKind(None, "an unknown country")


def countries_by_prefix() -> dict[str, str | None]:
    """Return the calling codes, each with its country's ISO code; ``None`` for +1, which several share."""
    return {"1": None, **{prefix: found[:2] for prefix, found in _COUNTRIES.items()}}


def is_russian(national: str) -> bool:
    """Return whether ten digits are a Russian number without its country code."""
    return len(national) == _RUSSIAN_LENGTH - 1 and (national[0] == "9" or national[:3] in _AREA_CODES)
