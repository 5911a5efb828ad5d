#include "cell.h"

namespace ostinato::OSTINATO_ISA {

const CellFunctions gru_reset_before = functions_of<GruResetBefore>();

}  // namespace ostinato::OSTINATO_ISA
