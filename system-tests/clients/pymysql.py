import pymysql
from pymysql.constants import CLIENT

class Connection(pymysql.connections.Connection):
    def _request_authentication(self):
        ask(self._sock, "CONNECT", super()._request_authentication, resource="shop")

def connect():
    return Connection(host="127.0.0.1", port=PORT, user="root", database="shop", autocommit=True, client_flag=CLIENT.MULTI_STATEMENTS)

def some(connection, at):
    cursor = connection.cursor()
    def run(statement, operation, results=1, **how):
        def work():
            try:
                cursor.execute(statement)
                for _ in range(results - 1):
                    assert cursor.nextset()
                assert not cursor.nextset()
            except pymysql.Error as error:
                assert str(error.args[0]) == how.get("code", "").split("/")[0], error
            else:
                assert "code" not in how, statement
        ask(connection._sock, operation, work, **{"resource": "shop", **how})
    if at % 10 == 0:
        run(f"select a from mark_nowhere_{at}", f"SELECT a FROM mark_nowhere_{at}", outcome="CLIENT_ERROR", code="1146/42S02")
    elif at % 10 == 1:
        run(f"select 1 as mark_{at}; select 2; select 3", f"SELECT ? AS mark_{at}", results=3)
    elif at % 10 == 2:
        ask(connection._sock, "PING", lambda: connection.ping(reconnect=False), resource="shop")
    elif at % 10 == 4:
        run("USE mysql", "USE mysql", resource="mysql")
        run(f"select {at} as mark_{at}", f"SELECT ? AS mark_{at}", resource="mysql")
        ask(connection._sock, "INIT DB", lambda: connection.select_db("shop"), resource="shop")
    elif at % 10 == 3:
        run(f"select repeat('x', {at % 700}) as mark_{at}", f"SELECT repeat(?) AS mark_{at}")
    else:
        run(f"select {at} as mark_{at}", f"SELECT ? AS mark_{at}")

serve(connect, some, lambda connection: connection.close())
