# eventbus: build with PGXS against any PG_CONFIG.  The install script is put
# together from sql/[0-9]*.sql in name order; the version stands in the control
# file only.
EXTENSION = eventbus
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" eventbus.control)
MODULE_big = eventbus
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

DATA_built = build/eventbus--$(EXTVERSION).sql

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

build/eventbus--$(EXTVERSION).sql: $(sort $(wildcard sql/[0-9]*.sql))
	mkdir -p build
	cat $^ > $@
