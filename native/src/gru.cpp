#include "cell.h"

namespace ostinato::OSTINATO_ISA {

const CellFunctions gru = functions_of<Gru>();

}  // namespace ostinato::OSTINATO_ISA
