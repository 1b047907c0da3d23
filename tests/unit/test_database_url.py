from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import URL

from embedsql import ConfigurationError, ConnectionFailedError, EmbedsqlError
from embedsql.database import APPLICATION_NAME, connect, conninfo, engine

SECRET = "hunter2"


def parts(url: str) -> dict[str, object]:
    """What was asked for, without what we add."""
    found = conninfo_to_dict(conninfo(url))
    names = ("user", "password", "host", "port", "dbname", "sslmode")
    return {name: found[name] for name in names if name in found}


@pytest.mark.parametrize(
    "scheme",
    ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg"],
)
def test_sqlalchemy_and_libpq_spellings_are_the_same(scheme: str) -> None:
    assert parts(f"{scheme}://app:{SECRET}@db.example:5433/shop?sslmode=require") == {
        "user": "app",
        "password": SECRET,
        "host": "db.example",
        "port": "5433",
        "dbname": "shop",
        "sslmode": "require",
    }


def test_a_socket_folder_may_be_the_host() -> None:
    expected = {"user": "app", "dbname": "shop", "host": "/run/postgres"}

    assert parts("postgresql://app@/shop?host=/run/postgres") == expected
    assert parts("postgresql+psycopg://app@%2Frun%2Fpostgres/shop") == expected
    assert parts("host=/run/postgres user=app dbname=shop") == expected


def test_key_and_value_pairs_are_taken() -> None:
    assert parts(f"  host=h user=u password='{SECRET} 2' dbname=d\n") == {
        "host": "h",
        "user": "u",
        "password": f"{SECRET} 2",
        "dbname": "d",
    }


def test_several_hosts_are_taken() -> None:
    assert parts("postgresql://one,two:5433/shop") == {
        "host": "one,two",
        "port": ",5433",
        "dbname": "shop",
    }


passwords = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(password=passwords.filter(lambda password: " " not in password))
def test_any_password_of_an_sqlalchemy_url_arrives(password: str) -> None:
    url = URL.create("postgresql+psycopg", "app", password, "h", database="shop")

    assert parts(url.render_as_string(hide_password=False))["password"] == password


def test_a_password_with_a_space_of_an_sqlalchemy_url_arrives() -> None:
    url = URL.create("postgresql+psycopg", "app", "two words", "h", database="shop")

    assert parts(url.render_as_string(hide_password=False))["password"] == "two words"


@given(password=passwords.filter(lambda password: "://" not in password))
def test_any_password_of_a_conninfo_arrives(password: str) -> None:
    assert parts(make_conninfo(host="h", password=password))["password"] == password


def test_a_password_with_a_scheme_in_it_arrives() -> None:
    assert parts(f"host=h password={SECRET}://x dbname=d")["password"] == f"{SECRET}://x"


def test_connections_are_named_and_notice_a_dead_network() -> None:
    found = conninfo_to_dict(conninfo("postgresql://h/d"))

    assert found["application_name"] == APPLICATION_NAME
    assert found["connect_timeout"] == "10"
    assert "keepalives_idle" in found


def test_what_the_url_says_comes_before_our_defaults() -> None:
    url = "postgresql://h/d?application_name=shop&connect_timeout=3"
    found = conninfo_to_dict(conninfo(url))

    assert (found["application_name"], found["connect_timeout"]) == ("shop", "3")


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://u:{SECRET}@h/d",
        f"mysql+pymysql://u:{SECRET}@h/d",
        f"sqlite:///{SECRET}.db",
        f"jdbc:postgresql://u:{SECRET}@h/d",
        f"://u:{SECRET}@h/d",
    ],
)
def test_another_database_is_refused_and_postgresql_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://") as caught:
        conninfo(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"u:{SECRET}@h/d",
        f"host=h password='{SECRET}",
        f"host=h passwort={SECRET}",
        f"postgresql://u:{SECRET}%zz@h/d",
        f"postgresql://u:{SECRET}@[::1/d",
        f"postgresql://u:{SECRET}@h/d?passwort={SECRET}",
        f"postgresql+asyncpg://u:{SECRET}@h/d?ssl=require",
    ],
)
def test_garbage_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        conninfo(url)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_password_before_a_slash_is_not_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        conninfo(f"host=h user=u password={SECRET} options=a://b bad")
    assert SECRET not in str(caught.value)


def test_an_url_that_is_not_valid_text_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        conninfo("postgresql://h/\udc80")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@127.0.0.1:1/d",
        f"host=/nowhere user=u password={SECRET} dbname=d",
        f"postgresql://u:{SECRET}@127.0.0.1:port/d",
        f"postgresql://u:{SECRET}@127.0.0.1:1/d?sslmode=nonsense",
    ],
)
def test_a_server_that_is_not_there_is_told_in_one_line_without_the_password(url: str) -> None:
    with pytest.raises(ConnectionFailedError, match="cannot connect") as caught:
        connect(conninfo(url))
    assert isinstance(caught.value, EmbedsqlError)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_engine_shows_no_password() -> None:
    made = engine(conninfo(f"postgresql://u:{SECRET}@h/d"))

    assert made.dialect.driver == "psycopg"
    assert SECRET not in repr(made)
