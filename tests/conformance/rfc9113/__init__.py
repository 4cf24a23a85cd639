"""RFC 9113 sections 3 to 8, rule by rule, against a real server through mutual TLS; after the manner of h2spec.

A test is named by the section that states its rule. What it asserts is what that section says, and not what two
clauses of section 5.4 would let pass for almost anything: a generic error code in the place of the right one, and the
end of the connection for the fault of one stream. A client is told exactly what it did, and the other streams of its
connection feel nothing. Where the section itself leaves a choice, the test names the set.
"""
