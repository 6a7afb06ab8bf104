.PHONY: demo loop test setup dev check docs bench clean

demo: setup  ## Play a two-minute drive through changing weather into the running node
	@. scripts/ros_env && exec .venv/bin/python -m semla_ros demo --out demo_out

test: dev  ## scripts/check, then every test
	@scripts/check
	@. scripts/ros_env && exec .venv/bin/python -m pytest

setup:  ## .venv with what a robot needs, and the package built with colcon
	@scripts/setup

dev:  ## the same with what training, building and testing need
	@scripts/setup --dev

check: dev  ## formatting, lint, types, import rules, spelling, the documentation's links
	@scripts/check

docs: dev  ## The documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet

loop: dev  ## Two laps through snow that the library lacks: found, captured, trained, reloaded
	@rm -rf loop_out
	@. scripts/ros_env && exec .venv/bin/python -m semla_ros loop demo --out loop_out

bench: dev  ## Measure docs/performance.md anew; half an hour on a quiet machine
	@scripts/bench

clean:
	rm -rf build install log demo_out loop_out site
