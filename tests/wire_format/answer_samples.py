"""Answers of the gateway: the samples of the vendor's document, mended where they are broken, and their relatives.

Mended: the commas after ``]`` and ``"cost"``, ``<date>…</balance>``, and the PDF's line breaks inside values. Left as
they are: ``"seen "`` with its space, the key repeated in the inbound answer, and the ids as strings.
"""

from __future__ import annotations

SEND_JSON = r"""{
    "send": [
        {
            "id": "12345",
            "server_id": "10005",
            "from": "SMSPILOT",
            "to": "79131437355",
            "text": "Ура \"SMSPILOT\" работает!",
            "parts": "1",
            "price": "0.29",
            "status": "0",
            "error": "0",
            "send_datetime": "0000-00-00 00:00:00",
            "country": "RU",
            "operator": "MTS"
        },
        {
            "id": "12346",
            "server_id": "10006",
            "from": "ADVOKAT",
            "to": "79087964782",
            "text": "json_encode в помощь!",
            "parts": "1",
            "price": "0.60",
            "status": "0",
            "error": "0",
            "send_datetime": "2012-10-18 18:00:00",
            "country": "RU",
            "operator": "TELE2"
        }
    ],
    "server_packet_id": "1234",
    "balance": "10000",
    "cost": "0.89"
}"""
SEND_XML = """<?xml version="1.0" encoding="utf-8"?>
<send server_packet_id="1234" balance="10000" cost="0.89"  >
    <sms id="12345" server_id="10005" from="SMSPILOT" to="79131437355" parts="1"
price="0.29" status="0" error="0" send_datetime="" country="RU" operator="MTS">Ура &quot;SMSPILOT&quot; работает!</sms>
    <sms id="12346" server_id="10006" from="ADVOKAT" to="79087964782" price="0.60"
parts="1" status="3" error="0" send_datetime="2012-10-18 18:00:00" country="RU"
operator="TELE2">Не забываем htmlspecialchars!</sms>
</send>"""
SEND_26 = r"""{"send":[
{"id":12345,"server_id":"10005","from":"SMSPILOT","to":"79131437355",
"text":"\u0423\u0440\u0430 \"SMSPILOT\" \u0440\u0430\u0431\u043e\u0442\u0430\u0435\u0442!","parts":1,"price":0.29,
"status":0,"error":0,"send_datetime":"","country":"RU","operator":"MTS"},
{"id":12346,"server_id":"10006","from":"ADVOKAT","to":"79087964782",
"text":"json_encode \u0432 \u043f\u043e\u043c\u043e\u0449\u044c!","parts":1,"price":0.60,
"status":0,"error":0,"send_datetime":"2012-10-18 18:00:00","country":"RU","operator":"TELE2"}
],"server_packet_id":"1234","balance":10000,"cost":0.89}"""
SEND_2013_JSON = """{"send":[{"id":"12345","server_id":"10005","from":"SMSPILOT","to":"79131437355","text":"Test",
"parts":"1","zone":"1","status":"0","error":"0","send_datetime":"","country":"RU"}],"server_packet_id":"1234","credits":"9999"}"""
SEND_2013_XML = """<?xml version="1.0" encoding="utf-8"?>
<send server_packet_id="1234" credits="9999"><sms id="12345" server_id="10005" from="SMSPILOT" to="79131437355"
parts="1" zone="1" status="0" error="0" send_datetime="" country="RU">Test</sms></send>"""

COST_JSON = '{"cost": "1.25"}'
COST_XML = '<?xml version="1.0" encoding="utf-8"?>\n<cost>1.25</cost>'
COST_26 = '{"cost":1.25}'

CHECK_JSON = """{
    "check": [
        {"id": "12345", "server_id" : "10005", "status": "1", "modified": "2011-08-11 14:35:00"},
        {"id": "12346", "server_id" : "10006", "status": "2", "modified": "2011-08-11 15:12:22"}
    ]
}"""
CHECK_XML = """<?xml version="1.0" encoding="utf-8"?>
<check>
    <sms id="12345" server_id="10005" status="1" modified="2011-08-11 14:35:00" />
    <sms id="12346" server_id="10006" status="2" modified="2011-08-11 15:12:22" />
</check>"""
CHECK_26 = """{"check":[{"id":12345,"server_id":"10005","status":1,"modified":"2011-08-11 14:35:00"},
{"id":12346,"server_id":"10006","status":2,"modified":"2011-08-11 15:12:22"}]}"""

BALANCE_JSON = '{"balance": 405.60}'
BALANCE_XML = '<?xml version="1.0" encoding="utf-8"?>\n<balance>405.60</balance>'

INFO_JSON = """{
    "info": {
        "id":"1",
        "tariff_id":"1",
        "email":"info@smspilot.ru",
        "phone":"79087964781",
        "balance":"999737",
        "date":"2012-01-21 07:25",
        "senders":"mySHOP,SCHOOL,SERVER4,my-site.ru",
        "default_sender":"SERVER4",
        "any_sender":"1"
    }
}"""
INFO_XML = """<?xml version="1.0" encoding="utf-8"?>
<info>
    <id>1</id>
    <tariff_id>1</tariff_id>
    <email>info@smspilot.ru</email>
    <phone>79087964781</phone>
    <balance>405.60</balance>
    <date>2012-01-21 07:25</date>
    <senders>smspilot.ru,TestSMS</senders>
    <default_sender>smspilot</default_sender>
    <any_sender>0</any_sender>
</info>"""
INFO_26 = """{"info":{"id":1,"tariff_id":1,"name":"Иван","email":"info@smspilot.ru","phone":"79087964781",
"balance":999737,"date":"2012-01-21 07:25",
"senders":"mySHOP,SCHOOL,SERVER4,my-site.ru","default_sender":"SERVER4","any_sender":1}}"""

INBOUND_JSON = """{
    "apikey": "XYZ",
    "inbound": [
        {"id": "12345", "phone" : "79087964781", "num" : "79021121075", "text" : "1234 Ура работает!",
        "created" : "2011-09-20 20:15", "seen ": "0"},
        {"id": "12346", "phone" : "79087964782", "num" : "79021121075", "text" : "1234 Дима Билан!",
        "created" : "2011-09-20 21:11", "seen": "1"}
    ]
}"""
INBOUND_XML = """<?xml version="1.0" encoding="utf-8"?>
<inbound>
    <sms id="12345" phone="79087964781" num="79021121075" created="2011-09-20 20:15" seen="0">1234 Ура работает!</sms>
    <sms id="12346" phone="79087964782" num="79021121075" created="2011-09-20 21:11" seen="1">1234 Дима Билан!</sms>

</inbound>"""
INBOUND_26 = """{"inbound":[{"id":12345,"phone":"79087964781","num":"79021121075","text":"1234 Ура работает!",
"created":"2011-09-20 20:15","seen":0},{"id":12346,"phone":"79087964782","num":"79021121075","text":"1234 Дима Билан!",
"created":"2011-09-20 21:11","seen":1}]}"""

ERROR_JSON = """{
    "error": {
        "code": "241",
        "description": "You don't have enough money"
    }
}"""
ERROR_XML = """<?xml version="1.0" encoding="utf-8"?>
<error>
    <code>241</code>
    <description>You don't have enough money</description>
</error>"""
ERROR_26 = (
    """{"error":{"code":"241","description":"You don't have enough money","description_ru":"Недостаточно средств"}}"""
)
ERROR_INT = """{"error":{"code":241,"description":"You don't have enough money"}}"""

EVERY_ANSWER = {
    name: body
    for name, body in dict(globals()).items()
    if isinstance(body, str) and name.endswith(("JSON", "XML", "26"))
}
