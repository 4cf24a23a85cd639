module handclasp/tests/bench/load

go 1.19
