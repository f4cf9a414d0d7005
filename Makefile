# eventbus: build with PGXS against any PG_CONFIG.  The install script is put
# together from sql/[0-9]*.sql in name order; the version stands in the control
# file only.
#
#   make && make install [PG_CONFIG=...]   as every extension
#   make demo, make demo-stop              see it work on a private server
#   make test [SUITE=...] [TEST=...]       every test, on private servers
#   make test-faults [SCENARIO=...]        the fault matrix: test/faults/README.md
#   make test-assert, test-sanitize, test-valgrind
#                                          the same on servers built to find mistakes
#   make bench                             eventbus beside a plain INSERT and PgQ
#   make installcheck                      the regression and isolation suites
EXTENSION = eventbus
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" eventbus.control)
MODULE_big = eventbus
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
PG_CPPFLAGS = -I$(srcdir)/src -DEB_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

DATA_built = build/eventbus--$(EXTVERSION).sql
DATA = $(wildcard sql/eventbus--*--*.sql)

# installcheck is ours: it starts its own server, because eventbus must be in
# shared_preload_libraries.
NO_INSTALLCHECK = 1

GIVEN_PG_CONFIG := $(PG_CONFIG)
ifeq ($(GIVEN_PG_CONFIG),)
PG_CONFIG = pg_config
endif
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
$(OBJS): $(wildcard src/*.h)
src/catalog.o src/catalog.bc: eventbus.control
else
# What follows installs PostgreSQL when it is missing; building by hand does not.
.PHONY: all install clean
all install:
	@echo "no PGXS found: install the PostgreSQL server headers or set PG_CONFIG" >&2; exit 1
clean:
endif

build/eventbus--$(EXTVERSION).sql: $(sort $(wildcard sql/[0-9]*.sql))
	mkdir -p build
	cat $^ > $@

STAGE = exec env PG_CONFIG='$(GIVEN_PG_CONFIG)' bash tools/stage
export SUITE TEST MEASURE ROUNDS SECONDS_EACH EVENTS FSYNC PERF BENCH_CONF KEEP
export SCENARIO SEEDED BUDGET SOAK KILLS SLACK SEED PRODUCERS CONSUMERS LIST

.PHONY: test test-assert test-sanitize test-valgrind installcheck demo demo-stop bench distclean

test:
	@$(STAGE) test tools/run-tests

# Servers of their own, built from Debian's source once.
test-assert test-sanitize test-valgrind:
	@exec bash tools/test-flavour $(@:test-%=%)

installcheck: SUITE = regress isolation
installcheck: TEST := $(or $(REGRESS),$(TEST))
installcheck:
	@$(STAGE) test tools/run-tests

demo:
	@bash demo/stop -q
	@$(STAGE) demo demo/run

demo-stop:
	@bash demo/stop

bench:
	@$(STAGE) bench bench/run

ifneq ($(wildcard test/faults/run),)
.PHONY: test-faults
test-faults:
	@$(STAGE) $(if $(SCENARIO)$(SOAK),faults,test) test/faults/run
endif

# When a version is released, its install script is kept: see sql/released/README.md.
.PHONY: release-script
release-script: build/eventbus--$(EXTVERSION).sql
	cp $< sql/released/

distclean: demo-stop clean
	rm -rf build
