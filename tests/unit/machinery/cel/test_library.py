"""The functions: CEL's own, its extensions, and Kubernetes'."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery import cel

AUTHORIZER = "kubernetes.authorization.Authorizer"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        # conversions
        ("int('42') + int(1.9) + int(3u)", 46),
        ("uint(3) == 3u", True),
        ("double('1.5')", 1.5),
        ("string(1) + string(1.5) + string(true) + string(b'x')", "11.5truex"),
        ("string(1.0)", "1"),
        ("string(1e30)", "1e+30"),
        ("bool('true')", True),
        ("string(duration('90m'))", "5400s"),
        ("string(duration('1.5s'))", "1.5s"),
        ("string(timestamp('2020-01-01T01:00:00.5+01:00'))", "2020-01-01T00:00:00.5Z"),
        ("int(timestamp('1970-01-01T00:01:00Z'))", 60),
        # time
        ("duration('1h') + duration('-30m') == duration('1800s')", True),
        ("timestamp('2020-01-02T00:00:00Z') - timestamp('2020-01-01T00:00:00Z') == duration('24h')", True),
        ("timestamp('2020-03-15T12:34:56.789Z').getMonth()", 2),
        ("timestamp('2020-03-15T12:34:56.789Z').getMilliseconds()", 789),
        ("timestamp('2020-03-15T12:34:56Z').getDayOfWeek()", 0),
        ("timestamp('2020-03-15T23:34:56Z').getHours('Europe/Berlin')", 0),
        ("timestamp('2020-03-15T23:34:56Z').getHours('+02:00')", 1),
        ("duration('90m').getHours()", 1),
        # text
        ("'tacocat'.indexOf('c', 3)", 4),
        ("'tacocat'.lastIndexOf('c')", 4),
        ("'tacocat'.charAt(7)", ""),
        ("'a,b,c'.split(',')", ["a", "b", "c"]),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("['a', 'b'].join('-')", "a-b"),
        ("'hello hello'.replace('he', 'we', 1)", "wello hello"),
        ("'tacocat'.substring(4)", "cat"),
        ("'tacocat'.substring(0, 4)", "taco"),
        ("'  x '.trim()", "x"),
        ("'TacoÑ'.lowerAscii()", "tacoÑ"),
        ("'taco'.upperAscii()", "TACO"),
        ("strings.quote('a\"b')", '"a\\"b"'),
        ("'%s is %d, %.1f, %x, %b, %%'.format(['a', 3, 2.55, 255, 5])", "a is 3, 2.5, ff, 101, %"),
        ("'%s'.format([{'b': [1, true, null], 'a': 1.0}])", "{a: 1, b: [1, true, null]}"),
        ("'abc123'.matches('[0-9]+$')", True),
        ("'abc 123 45'.find('[0-9]+')", "123"),
        ("'abc'.find('[0-9]+')", ""),
        ("'123 abc 456'.findAll('[0-9]+')", ["123", "456"]),
        ("'123 abc 456'.findAll('[0-9]+', 1)", ["123"]),
        # lists and sets
        ("[1, 2, 2, 3].isSorted() && !['b', 'a'].isSorted()", True),
        ("[1, 2].sum() + [5, 9].max() + [5, 9].min()", 17),
        ("[duration('1s'), duration('2s')].sum() == duration('3s')", True),
        ("['a', 'b', 'a'].indexOf('b') + ['a', 'b', 'a'].lastIndexOf('a')", 3),
        ("[1].indexOf(5)", -1),
        ("sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])", True),
        # quantities
        ("quantity('1Gi').isGreaterThan(quantity('999M'))", True),
        ("quantity('1.5').compareTo(quantity('1500m'))", 0),
        ("quantity('2k').asInteger()", 2000),
        ("quantity('50k').add(quantity('20k')).sub(1000) == quantity('69k')", True),
        ("quantity('-1').sign()", -1),
        ("quantity('1m').isInteger()", False),
        ("quantity('200m').asApproximateFloat()", 0.2),
        ("isQuantity('1.5Mi') && !isQuantity('five')", True),
        # URLs
        ("url('https://user@host:80/path%20x?a=1&a=2').getHost()", "host:80"),
        ("url('https://[::1]:80/').getHostname()", "::1"),
        ("url('https://host:80/').getPort()", "80"),
        ("url('https://host/').getScheme()", "https"),
        ("url('https://h/with space'.replace(' ', '%20')).getEscapedPath()", "/with%20space"),
        ("url('/p?a=1&a=2&b=').getQuery()", {"a": ["1", "2"], "b": [""]}),
        ("isURL('https://a.b') && isURL('/a') && !isURL('../a') && !isURL('a b')", True),
        # addresses
        ("ip('127.0.0.1').isLoopback() && ip('::1').family() == 6", True),
        ("isIP('1.2.3.4') && !isIP('01.2.3.4') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0')", True),
        ("ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')", True),
        ("ip('224.0.0.1').isLinkLocalMulticast() && ip('169.254.1.1').isLinkLocalUnicast()", True),
        ("ip('8.8.8.8').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast()", True),
        ("cidr('10.0.0.0/8').containsIP(ip('10.2.3.4')) && !cidr('10.0.0.0/8').containsIP('11.0.0.1')", True),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", True),
        ("cidr('10.0.0.0/8').containsCIDR(cidr('0.0.0.0/0'))", False),
        (
            "string(cidr('10.1.2.3/8').masked()) + ' ' + string(cidr('10.1.2.3/8').ip())",
            "10.0.0.0/8 10.1.2.3",
        ),
        ("cidr('::/48').prefixLength()", 48),
        ("isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/255.0.0.0')", True),
        # versions
        ("semver('1.2.3-alpha.10').isLessThan(semver('1.2.3'))", True),
        ("semver('1.2.3-alpha.2').compareTo(semver('1.2.3-alpha.10'))", -1),
        ("semver('v01.2', true).major() + semver('1.20.3').minor() + semver('1.2.9').patch()", 30),
        ("isSemver('1.2.3') && !isSemver('v1.2') && isSemver('v1.2', true)", True),
        # names
        ("format.dns1123Label().validate('web').hasValue()", False),
        ("format.dns1123Label().validate('Web').value().size()", 1),
        ("format.named('uuid').value().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()", False),
        ("format.named('nope').hasValue()", False),
        (
            "format.byte().validate('####').hasValue() && format.date().validate('2020-13-01').hasValue()",
            True,
        ),
        ("jsonpatch.escapeKey('a/b~c')", "a~1b~0c"),
    ],
)
def test_functions(expression: str, value: Any) -> None:
    assert cel.compile(expression).evaluate() == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("quantity('five')", "quantities must match the regular expression"),
        ("quantity('1.5').asInteger()", "cannot convert value to integer"),
        ("ip('nope')", 'IP Address "nope" parse error during conversion from string'),
        ("url('a b')", "URL parse error during conversion from string"),
        ("'x'.matches('[')", "error parsing regexp: missing ]"),
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("'abc'.charAt(9)", "index out of range: 9"),
        ("'%d'.format(['a'])", "error during formatting"),
        ("'%s %s'.format(['a'])", "index 1 out of range"),
        ("timestamp('yesterday')", "cannot parse"),
        ("duration('1 parsec')", "type conversion error from 'string' to 'google.protobuf.Duration'"),
        ("timestamp('2020-01-01T00:00:00Z').getHours('Nowhere/Land')", "unknown time zone Nowhere/Land"),
        ("dyn([]).min()", "min called on empty list"),
        ("dyn(5).isGreaterThan(quantity('1'))", "no such overload"),
        ("dyn('x').asInteger()", "no such overload"),
    ],
)
def test_functions_refuse(expression: str, message: str) -> None:
    with pytest.raises(cel.CelError) as caught:
        cel.compile(expression).evaluate()
    assert message in str(caught.value)


def test_the_authorizer_asks_what_the_expression_says() -> None:
    asked: list[cel.Question] = []

    def ask(question: cel.Question) -> tuple[bool, str]:
        asked.append(question)
        return question.verb == "get", "because"

    types = {
        "authorizer": AUTHORIZER,
        "authorizer.requestResource": "kubernetes.authorization.ResourceCheck",
    }
    expression = (
        "authorizer.group('apps').resource('deployments').subresource('scale').namespace('a').name('b')"
        ".check('get').allowed() && authorizer.path('/healthz').check('get').reason() == 'because' && "
        "!authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('list').allowed() && "
        "!authorizer.requestResource.check('delete').allowed()"
    )
    own = cel.Question("", resource="pods", name="own")
    variables = {
        "authorizer": cel.Authorizer(ask),
        "authorizer.requestResource": cel.resource_check(ask, own),
    }
    assert cel.compile(expression, types).evaluate(variables) is True
    assert asked == [
        cel.Question("get", "", "apps", "deployments", "scale", "a", "b"),
        cel.Question("get", path="/healthz"),
        cel.Question("list", resource="pods", service_account=("ns", "sa")),
        own._replace(verb="delete"),
    ]
